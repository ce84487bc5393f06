// Integer products of rows of bytes (0 to 255) with a query's int8 rows; exact, so the same on every machine.
//
// The query's rows lie in lanes of 32 bits, each of which holds a group of neighbouring dimensions: one instruction
// multiplies a group of a token's, repeated in every lane, with those of all rows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "maxsim.hpp"
#include "memory.hpp"
#include "packed.hpp"
#include "vec.hpp"

namespace lir {

// Groups are four bytes. But without VNNI, x86 adds byte products in pairs and in 16 bits, where 255 * -128 * 2 has no
// room (15 * -128 * 2 has), and NEON takes bytes to have a sign: there, rows of whole bytes are widened, and groups are
// two numbers of 16 bits.
#if defined(__AVX512VNNI__) || !(defined(__x86_64__) || defined(__aarch64__))
constexpr bool kWidens = false;
#else
constexpr bool kWidens = true;
#endif

// sum + the products of the groups in every lane; numbers of `group` are unsigned.
template <bool kWide>
inline vint add_dots(vint sum, vint group, vint query) {
#if defined(__AVX512VNNI__)
    return vint(_mm512_dpbusd_epi32(__m512i(sum), __m512i(group), __m512i(query)));
#elif defined(__AVX512BW__)
    const __m512i pairs = kWide ? __m512i(group) : _mm512_maddubs_epi16(__m512i(group), __m512i(query));
    return sum + vint(_mm512_madd_epi16(pairs, kWide ? __m512i(query) : _mm512_set1_epi16(1)));
#elif defined(__AVX2__)
    const __m256i pairs = kWide ? __m256i(group) : _mm256_maddubs_epi16(__m256i(group), __m256i(query));
    return sum + vint(_mm256_madd_epi16(pairs, kWide ? __m256i(query) : _mm256_set1_epi16(1)));
#elif defined(__SSSE3__)
    const __m128i pairs = kWide ? __m128i(group) : _mm_maddubs_epi16(__m128i(group), __m128i(query));
    return sum + vint(_mm_madd_epi16(pairs, kWide ? __m128i(query) : _mm_set1_epi16(1)));
#elif defined(__aarch64__)
    if (kWide) {
        const int16x8_t a = int16x8_t(group), b = int16x8_t(query);
        return sum + vint(vpaddq_s32(vmull_s16(vget_low_s16(a), vget_low_s16(b)), vmull_high_s16(a, b)));
    }
    const int8x16_t a = int8x16_t(group), b = int8x16_t(query);
#if defined(__ARM_FEATURE_DOTPROD)
    return vint(vdotq_s32(int32x4_t(sum), a, b));
#else
    const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(b))), high = vpaddlq_s16(vmull_high_s8(a, b));
    return sum + vint(vpaddq_s32(low, high));
#endif
#else
    for (int shift = 24; shift >= 0; shift -= 8) sum += ((group << shift >> 24) & 255) * (query << shift >> 24);
    return sum;
#endif
}

// Without VNNI, sums of byte products stay in 16 bits for as many groups as have room there: half the multiplications.
#if defined(__AVX2__) && !defined(__AVX512VNNI__)
constexpr bool kSums16 = true;
inline vint add_pairs(vint sum, vint group, vint query) {
#if defined(__AVX512BW__)
    sum = vint(_mm512_add_epi16(__m512i(sum), _mm512_maddubs_epi16(__m512i(group), __m512i(query))));
#else
    sum = vint(_mm256_add_epi16(__m256i(sum), _mm256_maddubs_epi16(__m256i(group), __m256i(query))));
#endif
    asm volatile("" : "+x"(sum));  // else GCC multiplies all before it adds, and spills the sums
    return sum;
}
inline vint widen_pairs(vint sum) {
#if defined(__AVX512BW__)
    return vint(_mm512_madd_epi16(__m512i(sum), _mm512_set1_epi16(1)));
#else
    return vint(_mm256_madd_epi16(__m256i(sum), _mm256_set1_epi16(1)));
#endif
}
#else
constexpr bool kSums16 = false;
inline vint add_pairs(vint sum, vint, vint) { return sum; }
inline vint widen_pairs(vint sum) { return sum; }
#endif

// Whether the products of a query's neighbouring values with bytes up to `largest` have room in 16 bits, where every
// second pair of values has a sum of its own.
inline bool have_room(const std::int8_t* values, int size, int largest) {
    int sums[2][2] = {};  // of what is not above zero, and of what is
    for (int k = 0; k < size; ++k) sums[values[k] > 0][k / 2 % 2] += values[k];
    const auto& [down, up] = sums;
    return largest * std::max(up[0], up[1]) <= 32767 && largest * std::min(down[0], down[1]) >= -32768;
}

// How many groups of `size` values of a query's row have room in 16 bits together, from any multiple of them on. Most
// queries have it for a whole row: few of their values are near 127, and half of them are negative. Powers of two (or
// more than the row has), so that what has room with many groups has it with fewer, which other rows may need.
inline int groups_in_16_bits(const std::int8_t* row, int dim, int size, int largest) {
    int depth = 1;
    while (depth * size < dim) depth *= 2;
    const auto fits = [&](int length) {
        for (int k = 0; k < dim; k += length)
            if (!have_room(row + k, std::min(length, dim - k), largest)) return false;
        return true;
    };
    while (depth > 1 && !fits(depth * size)) depth /= 2;
    return depth;
}

// Packed rows of a number of dimensions, and what they look like for the products: dimensions in order, in groups.
struct ByteRows {
    ByteRows(int dim, int nbits, const std::uint8_t* table = nullptr)
        : planes(dim, nbits, table),
          width(planes.width),
          wide(kWidens && nbits == 8),
          groups(wide ? (width + 1) / 2 : (8 / nbits * width + 3) / 4),
          stride(wide ? 4 * groups : planes.size) {}

    // `end` is the end of all packed rows; every byte is xor-ed with `flip` first.
    void read(const std::uint8_t* packed, int rows, const std::uint8_t* end, std::uint8_t flip,
              std::uint8_t* to) const {
        if (!wide) return unpack(packed, rows, end, planes, flip, to);
        for (int r = 0; r < rows; ++r, packed += width, to += stride) {
            auto* row = reinterpret_cast<std::uint16_t*>(to);
            for (int k = 0; k < width; ++k) row[k] = std::uint16_t(packed[k] ^ flip);
        }
    }

    Planes planes;
    int width;  // bytes of a packed row
    bool wide;
    int groups;
    int stride;  // bytes from row to row
};

// The query's rows as lanes, in blocks of two vectors, of which the last may have one or three; a block holds the rows'
// first group of dimensions, then the second, and so on. Lanes without a row and dimensions without a value are zero.
class ByteLanes {
   public:
    ByteLanes(const std::int8_t* query, int rows, int dim, const ByteRows& layout)
        : vectors_((rows + kLanes - 1) / kLanes),
          groups_(layout.groups),
          depth_(kSums16 && !layout.wide ? groups_ : 1),
          values_(std::size_t(vectors_) * groups_ * kVectorBytes) {
        const int size = layout.wide ? 2 : 4;  // of a group
        const int largest = layout.planes.largest();
        for (int row = 0; row < rows; ++row) {
            if (depth_ > 1)
                depth_ = std::min(depth_, groups_in_16_bits(query + std::size_t(row) * dim, dim, size, largest));
            const int first = block_of(row / kLanes);
            const int width = block_vectors(first) * kLanes, lane = row - first * kLanes;
            for (int k = 0; k < dim; ++k) {
                std::int8_t* group = values_.data() + std::size_t(first) * groups_ * kVectorBytes +
                                     (std::size_t(k / size) * width + lane) * 4;
                const std::int8_t value = query[std::size_t(row) * dim + k];
                if (layout.wide)
                    reinterpret_cast<std::int16_t*>(group)[k % 2] = value;
                else
                    group[k % 4] = value;
            }
        }
    }
    int vectors() const { return vectors_; }
    // Groups whose products are summed in 16 bits; one: sums are of 32 bits at once.
    int depth() const { return depth_; }
    int block_vectors(int first) const { return vectors_ - first <= 3 ? vectors_ - first : 2; }
    const std::int8_t* block(int first) const { return values_.data() + std::size_t(first) * groups_ * kVectorBytes; }

   private:
    // The first vector of the block that holds a vector.
    int block_of(int vector) const {
        const int first = vector - vector % 2;
        return vectors_ % 2 == 1 && vector == vectors_ - 1 ? std::max(vectors_ - 3, 0) : first;
    }

    int vectors_, groups_, depth_;
    Buffer<std::int8_t> values_;
};

// products[row * columns + lane] of kTile rows with V vectors of the query
template <int V, bool kWide>
__attribute__((noinline)) void dot_tile(const std::uint8_t* rows, int stride, const std::int8_t* query, int groups,
                                        std::int32_t* products, int columns) {
    constexpr int R = register_rows(V);
    for (int first = 0; first < kTile; first += R, rows += R * stride, products += R * columns) {
        vint sum[R][V] = {};
        for (int g = 0; g < groups; ++g) {
            vint q[V];
#pragma GCC unroll 16
            for (int v = 0; v < V; ++v) std::memcpy(&q[v], query + (g * V + v) * kVectorBytes, kVectorBytes);
#pragma GCC unroll 16
            for (int r = 0; r < R; ++r) {
                std::int32_t group;
                std::memcpy(&group, rows + r * stride + 4 * g, sizeof group);
                const vint x = splat(group);
#pragma GCC unroll 16
                for (int v = 0; v < V; ++v) sum[r][v] = add_dots<kWide>(sum[r][v], x, q[v]);
            }
        }
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
            for (int v = 0; v < V; ++v) store(products + r * columns + v * kLanes, sum[r][v]);
    }
}

// The same with sums of 16 bits, `depth` groups long.
template <int V>
__attribute__((noinline)) void dot_tile_in_16_bits(const std::uint8_t* rows, int stride, const std::int8_t* query,
                                                   int groups, int depth, std::int32_t* products, int columns) {
    constexpr int R = register_rows(V);
    for (int first = 0; first < kTile; first += R, rows += R * stride, products += R * columns) {
        for (int begin = 0; begin < groups; begin += depth) {
            vint sum[R][V] = {};
            for (int g = begin; g < std::min(groups, begin + depth); ++g) {
                vint q[V];
#pragma GCC unroll 16
                for (int v = 0; v < V; ++v) std::memcpy(&q[v], query + (g * V + v) * kVectorBytes, kVectorBytes);
#pragma GCC unroll 16
                for (int r = 0; r < R; ++r) {
                    std::int32_t group;
                    std::memcpy(&group, rows + r * stride + 4 * g, sizeof group);
                    const vint x = splat(group);
#pragma GCC unroll 16
                    for (int v = 0; v < V; ++v) sum[r][v] = add_pairs(sum[r][v], x, q[v]);
                }
            }
#pragma GCC unroll 16
            for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
                for (int v = 0; v < V; ++v) {
                    std::int32_t* to = products + r * columns + v * kLanes;
                    const vint pairs = widen_pairs(sum[r][v]);
                    store(to, begin == 0 ? pairs : load(to) + pairs);
                }
        }
    }
}

template <int V, bool kWide>
inline void dot_block(const std::uint8_t* rows, const ByteRows& layout, const ByteLanes& query, int first,
                      std::int32_t* products) {
    const int columns = query.vectors() * kLanes;
    products += first * kLanes;
    if (kSums16 && !kWide && query.depth() > 1)
        dot_tile_in_16_bits<V>(rows, layout.stride, query.block(first), layout.groups, query.depth(), products,
                               columns);
    else
        dot_tile<V, kWide>(rows, layout.stride, query.block(first), layout.groups, products, columns);
}

template <bool kWide>
inline void dot_blocks(const std::uint8_t* rows, const ByteRows& layout, const ByteLanes& query,
                       std::int32_t* products) {
    for (int v = 0; v < query.vectors();) {
        const int count = query.block_vectors(v);
        switch (count) {
            case 1: dot_block<1, kWide>(rows, layout, query, v, products); break;
            case 2: dot_block<2, kWide>(rows, layout, query, v, products); break;
            default: dot_block<3, kWide>(rows, layout, query, v, products);
        }
        v += count;
    }
}

// The products of kTile rows with all vectors of the query, query.vectors() * kLanes columns.
inline void dot_all(const std::uint8_t* rows, const ByteRows& layout, const ByteLanes& query, std::int32_t* products) {
    if (layout.wide)
        dot_blocks<kWidens>(rows, layout, query, products);
    else
        dot_blocks<false>(rows, layout, query, products);
}

}  // namespace lir
