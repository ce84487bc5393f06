// Scores of the tokens of some cells, each cell for one row of the query, from packed levels that lie cell after cell.
//
// Here tokens lie in lanes, in blocks of 16: a block's first 64 bytes are the first four packed bytes of each token, its
// next 64 bytes the next four, and so on. One instruction multiplies four dimensions of 16 tokens with the row's.
// Cells begin and end where they like; what a block holds of other cells is multiplied as well, and not used.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "ahead.hpp"
#include "cells.hpp"
#include "dot.hpp"
#include "memory.hpp"
#include "packed.hpp"
#include "parallel.hpp"
#include "vec.hpp"

namespace lir {

constexpr int kBlockTokens = 16;
constexpr int kGroupBytes = 4 * kBlockTokens;
constexpr int kBlockVectors = kGroupBytes / kVectorBytes;
constexpr int kScanned = 32;  // blocks whose products are kept at a time

// Four packed bytes of a token hold four values in each of their 8 / nbits planes (see packed.hpp).
inline int packed_groups(int dim, int nbits) { return (packed_width(dim, nbits) + 3) / 4; }

// The rows of a query as the blocks want them: for each four packed bytes, for each plane, the row's four values.
class PackedRows {
   public:
    PackedRows(const std::int8_t* query, int rows, int dim, int nbits, const std::uint8_t* table)
        : planes_(8 / nbits),
          groups_(packed_groups(dim, nbits)),
          depths_(std::size_t(rows), 1),
          values_(std::size_t(rows) * groups_ * planes_ * 4) {
        const int width = packed_width(dim, nbits);
        // Of whole bytes the kernel takes the halves.
        const int largest = nbits == 8 ? 15 : Planes(dim, nbits, table).largest();
        for (int row = 0; row < rows; ++row) {
            std::int8_t* values = values_.data() + row * stride();
            for (int j = 0; j < dim; ++j) {
                const int byte = j % width, plane = j / width;
                values[(byte / 4 * planes_ + plane) * 4 + byte % 4] = query[std::int64_t(row) * dim + j];
            }
            if (kSums16) depths_[std::size_t(row)] = groups_in_16_bits(values, int(stride()), planes_ * 4, largest);
        }
    }
    int groups() const { return groups_; }
    const std::int8_t* row(int i) const { return values_.data() + i * stride(); }
    // Groups whose products with a row are summed in 16 bits; one: sums are of 32 bits at once.
    int depth(int i) const { return depths_[std::size_t(i)]; }

   private:
    std::int64_t stride() const { return std::int64_t(groups_) * planes_ * 4; }
    int planes_, groups_;
    std::vector<int> depths_;
    Buffer<std::int8_t> values_;
};

// One row's side of a score: its values, how many groups of them are summed in 16 bits, what its products are multiplied
// with, and what is added.
struct RowScores {
    const std::int8_t* values;
    int depth;
    float scale, offset;
};

// sum + the products of one plane of packed bytes with a row's four values in every lane; kPairs: in 16 bits
template <int kBits, bool kMapped, bool kPairs>
inline vint add_plane(vint sum, vuint bytes, int plane, vuint table, vint row) {
    const vuint mask = vuint{} + 0x01010101u * ((1u << kBits) - 1);
    const vuint values = (bytes >> (plane * kBits)) & mask;
    const vint group = reinterpret_cast<vint>(kMapped ? look_up(table, values) : values);
    return kPairs ? add_pairs(sum, group, row) : add_dots<false>(sum, group, row);
}

// The sums of a plane's products: of 32 bits, or for some groups of 16 bits.
template <bool kPairs>
inline vint total(vint sum) {
    return kPairs ? widen_pairs(sum) : sum;
}

// products[t] of the tokens t of kBlocks blocks with a row; `ahead` bytes further on is what will be wanted next. With
// kPairs `depth` groups at a time are summed in 16 bits.
template <int kBits, bool kMapped, int kBlocks, bool kPairs>
inline void dot_blocks(const std::uint8_t* block, int groups, int depth, std::int64_t ahead, vuint table,
                       const std::int8_t* row, std::int32_t* products) {
    // Without VNNI byte products are added in 16 bits, where those of whole bytes have no room: half a byte at a time,
    // which count 1 and 16.
    constexpr bool kHalves = kWidens && kBits == 8;
    constexpr int kPart = kHalves ? 4 : kBits, kPlanes = 8 / kBits;
    for (int begin = 0; begin < groups; begin += depth) {
        vint sum[kBlocks][kBlockVectors] = {}, high[kBlocks][kBlockVectors] = {};
        for (int g = begin; g < std::min(groups, begin + depth); ++g, block += kGroupBytes, row += 4 * kPlanes) {
#pragma GCC unroll 8
            for (int b = 0; b < kBlocks; ++b) {
                const std::uint8_t* from = block + std::int64_t(b) * groups * kGroupBytes;
                __builtin_prefetch(from + ahead);
#pragma GCC unroll 8
                for (int v = 0; v < kBlockVectors; ++v) {
                    vuint bytes;
                    std::memcpy(&bytes, from + v * kVectorBytes, sizeof bytes);
#pragma GCC unroll 8
                    for (int plane = 0; plane < kPlanes; ++plane) {
                        std::int32_t values;
                        std::memcpy(&values, row + 4 * plane, sizeof values);
                        const vint four = splat(values);
                        sum[b][v] = add_plane<kPart, kMapped, kPairs>(sum[b][v], bytes, plane, table, four);
                        if (kHalves) high[b][v] = add_plane<kPart, false, kPairs>(high[b][v], bytes, 1, table, four);
                    }
                }
            }
        }
#pragma GCC unroll 8
        for (int b = 0; b < kBlocks; ++b)
#pragma GCC unroll 8
            for (int v = 0; v < kBlockVectors; ++v) {
                std::int32_t* to = products + b * kBlockTokens + v * kLanes;
                vint more = total<kPairs>(sum[b][v]);
                if (kHalves) more += total<kPairs>(high[b][v]) << 4;
                store(to, begin == 0 ? more : load(to) + more);
            }
    }
}

template <int kBits, bool kMapped, bool kPairs>
inline void dot_blocks(const std::uint8_t* block, int count, int groups, int depth, std::int64_t ahead,
                       const LevelTable& levels, const std::int8_t* row, std::int32_t* products) {
    const vuint table = repeat16(levels.entries);
    constexpr int kTogether = 4 / kBlockVectors;  // four sums hide the products' latency
    const std::int64_t size = std::int64_t(groups) * kGroupBytes;
    int b = 0;
    for (; b + kTogether <= count; b += kTogether)
        dot_blocks<kBits, kMapped, kTogether, kPairs>(block + b * size, groups, depth, ahead, table, row,
                                                      products + b * kBlockTokens);
    for (; b < count; ++b)
        dot_blocks<kBits, kMapped, 1, kPairs>(block + b * size, groups, depth, ahead, table, row,
                                              products + b * kBlockTokens);
}

template <int kBits, bool kMapped>
inline void dot_blocks(const std::uint8_t* block, int count, int groups, std::int64_t ahead, const LevelTable& levels,
                       const RowScores& row, std::int32_t* products) {
    if (kSums16 && row.depth > 1)
        dot_blocks<kBits, kMapped, kSums16>(block, count, groups, row.depth, ahead, levels, row.values, products);
    else
        dot_blocks<kBits, kMapped, false>(block, count, groups, groups, ahead, levels, row.values, products);
}

// What is stored of the tokens, cell after cell.
struct CellTokens {
    Cells cells;
    const std::uint8_t* blocks;
    const std::uint8_t* inv_norm;  // or null: no normalisation
    const float* inv_norm_table;
    int nbits;
    LevelTable table;
};

// The same for what is known when the program runs.
template <bool kMapped>
inline void dot_blocks(const CellTokens& tokens, const std::uint8_t* block, int count, int groups, std::int64_t ahead,
                       const RowScores& row, std::int32_t* products) {
    switch (tokens.nbits) {
        case 1: return dot_blocks<1, kMapped>(block, count, groups, ahead, tokens.table, row, products);
        case 2: return dot_blocks<2, kMapped>(block, count, groups, ahead, tokens.table, row, products);
        case 4: return dot_blocks<4, kMapped>(block, count, groups, ahead, tokens.table, row, products);
        default: return dot_blocks<8, false>(block, count, groups, ahead, tokens.table, row, products);
    }
}

// scores[t] = (offset + scale * products[t]) * factor[t] of the tokens start .. end - 1; those from `next` on are wanted
// after them.
inline void scan_cell(const CellTokens& tokens, int groups, std::int64_t start, std::int64_t end, std::int64_t next,
                      const RowScores& row, float* scores) {
    std::int32_t products[kScanned * kBlockTokens];
    const std::int64_t ahead = (next / kBlockTokens - start / kBlockTokens) * groups * kGroupBytes;
    for (std::int64_t block = start / kBlockTokens; block * kBlockTokens < end; block += kScanned) {
        const std::int64_t last = std::min((end + kBlockTokens - 1) / kBlockTokens, block + kScanned);
        const std::uint8_t* bytes = tokens.blocks + block * groups * kGroupBytes;
        const int count = int(last - block);
        if (tokens.table.used)
            dot_blocks<true>(tokens, bytes, count, groups, ahead, row, products);
        else
            dot_blocks<false>(tokens, bytes, count, groups, ahead, row, products);
        const std::int64_t first = std::max(start, block * kBlockTokens), stop = std::min(end, last * kBlockTokens);
        const std::int32_t* product = products + (first - block * kBlockTokens);
        const std::int64_t size = stop - first;
        for (std::int64_t k = 0; k < size; ++k) scores[k] = row.offset + row.scale * float(product[k]);
        if (tokens.inv_norm != nullptr)
            for (std::int64_t k = 0; k < size; ++k) scores[k] *= tokens.inv_norm_table[tokens.inv_norm[first + k]];
        scores += size;
    }
}

// Which cells each of `rows` rows looks at: row i at cells[i * p ..], whose centroids score cell_scores[i * p ..].
struct Probes {
    const std::int32_t* cells;
    const float* cell_scores;
    int rows, p;
};

// How many tokens each row's cells hold, as offsets; starts[k] is where the tokens of the k-th probe go.
inline void probe_offsets(const Cells& cells, const Probes& probes, std::int64_t* row_offsets,
                          std::vector<std::int64_t>& starts) {
    starts.resize(std::size_t(probes.rows) * probes.p);
    std::int64_t end = 0;
    row_offsets[0] = 0;
    for (int i = 0; i < probes.rows; ++i) {
        for (int k = i * probes.p; k < (i + 1) * probes.p; ++k) {
            const auto [first, last] = cells.range(probes.cells[k]);
            starts[std::size_t(k)] = end;
            end += last - first;
        }
        row_offsets[i + 1] = end;
    }
}

// Asks for the tokens of cells, which are in order.
inline void ask_for_cells(const CellTokens& tokens, int groups,
                          const std::vector<std::pair<std::int32_t, std::int32_t>>& order) {
    Ahead ahead;
    const std::int64_t bytes = std::int64_t(groups) * kGroupBytes;  // of a block
    for (std::size_t o = 0; o < order.size(); ++o) {
        if (o > 0 && order[o].first == order[o - 1].first) continue;
        const auto [first, end] = tokens.cells.range(order[o].first);
        ahead.add(tokens.blocks, first / kBlockTokens * bytes, (end + kBlockTokens - 1) / kBlockTokens * bytes);
        ahead.add(tokens.cells.docs, first, end);
    }
    ahead.ask();
}

// docs[e], scores[e] of the tokens of all probes, one probe after the other. Probes of one cell follow each other, so
// that its tokens are read from memory once.
inline void scan_cells(const CellTokens& tokens, const Probes& probes, const PackedRows& query, const float* scale,
                       const float* bias, const std::vector<std::int64_t>& starts, int num_threads,
                       std::int32_t* docs, float* scores) {
    const std::int64_t count = std::int64_t(starts.size()), size = 16, pieces = (count + size - 1) / size;
    std::vector<std::pair<std::int32_t, std::int32_t>> order;  // cell, probe
    order.reserve(starts.size());
    for (std::int32_t k = 0; k < count; ++k) order.emplace_back(probes.cells[k], k);
    std::sort(order.begin(), order.end());
    ask_for_cells(tokens, query.groups(), order);
    num_threads = int(std::min<std::int64_t>(num_threads, std::max<std::int64_t>(pieces, 1)));
    parallel_for(num_threads, pieces, [&](int, std::int64_t piece) {
        for (std::int64_t o = piece * size; o < std::min(count, (piece + 1) * size); ++o) {
            const auto [cell, k] = order[std::size_t(o)];
            const auto [first, end] = tokens.cells.range(cell);  // which probe_offsets has checked
            const std::int64_t next = o + 1 < count ? tokens.cells.offsets[order[std::size_t(o) + 1].first] : first;
            const int i = k / probes.p;
            const RowScores row{query.row(i), query.depth(i), scale[i], probes.cell_scores[k] + bias[i]};
            scan_cell(tokens, query.groups(), first, end, next, row, scores + starts[std::size_t(k)]);
            std::copy(tokens.cells.docs + first, tokens.cells.docs + end, docs + starts[std::size_t(k)]);
        }
    });
}

}  // namespace lir
