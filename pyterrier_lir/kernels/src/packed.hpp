// Small numbers in bytes: value j of a row lies in byte j % width, at bits nbits * (j / width).
//
// These planes make one mask and one shift of a packed row give `width` neighbouring values.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "memory.hpp"
#include "vec.hpp"

namespace lir {

inline int packed_width(int dim, int nbits) { return (dim + 8 / nbits - 1) / (8 / nbits); }

inline void pack_row(const std::uint8_t* levels, int dim, int nbits, std::uint8_t* packed) {
    const int width = packed_width(dim, nbits);
    std::memset(packed, 0, std::size_t(width));
    for (int first = 0, shift = 0; first < dim; first += width, shift += nbits)
        for (int k = 0; k < std::min(width, dim - first); ++k) packed[k] |= std::uint8_t(levels[first + k] << shift);
}

// What each value of up to four bits stands for: a byte of 0 to 127, so that products of pairs have room in 16 bits.
struct LevelTable {
    LevelTable(const std::uint8_t* values, int nbits) : used(values != nullptr) {
        if (used) std::copy_n(values, 1 << nbits, entries);
    }

    int largest() const { return *std::max_element(entries, entries + 16); }

    bool used;
    std::uint8_t entries[16] = {};
};

// How unpack lays out the values of a row: in order, plane after plane. Whole vectors are written, so a row takes `size`
// bytes, of which those behind the values have no meaning. With a table its entries are laid out instead of the values.
struct Planes {
    Planes(int dim, int nbits, const std::uint8_t* table = nullptr)
        : width(packed_width(dim, nbits)),
          nbits(nbits),
          size((8 / nbits * width + 2 * kVectorBytes - 1) / kVectorBytes * kVectorBytes),
          table(table, nbits) {}

    // What a value is laid out as, at most.
    int largest() const { return table.used ? table.largest() : (1 << nbits) - 1; }

    int width, nbits, size;
    LevelTable table;
};

// The last bytes of a row, fewer than a vector. Kept apart: inline, their way through memory would be everyone's.
__attribute__((noinline)) inline vuint load_rest(const std::uint8_t* from, int size) {
    vuint bytes = {};
    std::memcpy(&bytes, from, std::size_t(size));
    return bytes;
}

template <int kBits, bool kMapped>
inline void unpack_row(const std::uint8_t* packed, const std::uint8_t* end, const Planes& planes, vuint flip,
                       vuint table, std::uint8_t* levels) {
    const vuint mask = vuint{} + 0x01010101u * ((1u << kBits) - 1);
    // Plane by plane: a plane's last vector may reach into the next plane, which then overwrites that.
#pragma GCC unroll 8
    for (int plane = 0; plane < 8 / kBits; ++plane) {
        for (int k = 0; k < planes.width; k += kVectorBytes) {
            // Bytes of the next row do no harm, they have no meaning here; beyond the last row there may be no memory.
            vuint bytes;
            if (__builtin_expect(end - packed >= k + kVectorBytes, true))
                std::memcpy(&bytes, packed + k, sizeof bytes);
            else
                bytes = load_rest(packed + k, planes.width - k);
            vuint values = ((bytes ^ flip) >> (plane * kBits)) & mask;
            if (kMapped) values = look_up(table, values);
            std::memcpy(levels + plane * planes.width + k, &values, sizeof values);
        }
    }
}

template <int kBits, bool kMapped>
inline void unpack_rows(const std::uint8_t* packed, std::int64_t rows, const std::uint8_t* end, const Planes& planes,
                        std::uint8_t flip, std::uint8_t* levels) {
    const Planes local = planes;  // which stores of bytes cannot change
    const vuint table = repeat16(local.table.entries);
    for (std::int64_t r = 0; r < rows; ++r)
        unpack_row<kBits, kMapped>(packed + r * local.width, end, local, vuint{} + 0x01010101u * flip, table,
                                   levels + r * local.size);
}

template <bool kMapped>
inline void unpack_planes(const std::uint8_t* packed, std::int64_t rows, const std::uint8_t* end, const Planes& planes,
                          std::uint8_t flip, std::uint8_t* levels) {
    switch (planes.nbits) {
        case 1: return unpack_rows<1, kMapped>(packed, rows, end, planes, flip, levels);
        case 2: return unpack_rows<2, kMapped>(packed, rows, end, planes, flip, levels);
        case 4: return unpack_rows<4, kMapped>(packed, rows, end, planes, flip, levels);
        default: return unpack_rows<8, false>(packed, rows, end, planes, flip, levels);
    }
}

// The values of some packed rows, each planes.size bytes after the one before it. `end` is the end of all packed rows;
// every byte is xor-ed with `flip` first.
inline void unpack(const std::uint8_t* packed, std::int64_t rows, const std::uint8_t* end, const Planes& planes,
                   std::uint8_t flip, std::uint8_t* levels) {
    if (planes.table.used)
        unpack_planes<true>(packed, rows, end, planes, flip, levels);
    else
        unpack_planes<false>(packed, rows, end, planes, flip, levels);
}

// All rows of a matrix.
inline void pack(const std::uint8_t* levels, std::int64_t rows, int dim, int nbits, std::uint8_t* packed) {
    const int width = packed_width(dim, nbits);
    for (std::int64_t r = 0; r < rows; ++r) pack_row(levels + r * dim, dim, nbits, packed + r * width);
}

inline void unpack(const std::uint8_t* packed, std::int64_t rows, int dim, int nbits, std::uint8_t* levels) {
    const Planes planes(dim, nbits);
    Buffer<std::uint8_t> row(std::size_t(planes.size));
    for (std::int64_t r = 0; r < rows; ++r) {
        unpack(packed + r * planes.width, 1, packed + rows * planes.width, planes, 0, row.data());
        std::memcpy(levels + r * dim, row.data(), std::size_t(dim));
    }
}

}  // namespace lir
