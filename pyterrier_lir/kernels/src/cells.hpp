// Which centroids are best for each query row, and which documents their cells hold.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "memory.hpp"
#include "vec.hpp"

namespace lir {

// A score and a centroid as one number, smaller for better ones: higher scores, then lower numbers. Sorts several times
// as fast as a pair.
inline std::uint64_t cell_key(float score, std::int32_t cell) {
    std::uint32_t bits;
    score += 0.0f;  // no negative zero, which equals zero
    std::memcpy(&bits, &score, sizeof bits);
    const std::uint32_t ascending = bits ^ ((bits >> 31) != 0 ? 0xffffffffu : 0x80000000u);
    return std::uint64_t(~ascending) << 32 | std::uint32_t(cell);
}

inline std::int32_t cell_of_key(std::uint64_t key) { return std::int32_t(std::uint32_t(key)); }

inline float score_of_key(std::uint64_t key) {
    const std::uint32_t ascending = ~std::uint32_t(key >> 32);
    const std::uint32_t bits = ascending ^ ((ascending >> 31) != 0 ? 0x80000000u : 0xffffffffu);
    float score;
    std::memcpy(&score, &bits, sizeof score);
    return score;
}

// The p best centroids of each column, best first, ties by number.
//
// A score that the maxima of p blocks of centroids reach is a bound: at least p centroids reach it, so all of the best
// ones do, and lie in such blocks. So most blocks are read once, to find their maxima.
class TopCells {
   public:
    TopCells(const float* scores, std::int64_t num_centroids, int rows, int columns, int p)
        : scores_(scores),
          num_centroids_(num_centroids),
          columns_(columns),
          p_(p),
          block_(std::clamp<std::int64_t>(num_centroids / std::max(128, 8 * p), 4, 128)),
          num_blocks_((num_centroids + block_ - 1) / block_),
          maxima_(std::size_t(num_blocks_) * columns),
          bounds_(std::size_t(columns)),
          found_(static_cast<std::size_t>(rows)) {
        for (std::int64_t b = 0; b < num_blocks_; ++b) find_maxima(b);
        for (auto& found : found_) found.reserve(2 * std::size_t(p));
        for (int column = 0; column < columns; column += kLanes) find_bounds(column);
        // Nothing reaches NaN: columns of no row are never looked at.
        std::fill(bounds_.data() + rows, bounds_.data() + columns, std::numeric_limits<float>::quiet_NaN());
        for (std::int64_t b = 0; b < num_blocks_; ++b) collect(b);
    }

    void find(int row, std::int32_t* cells) {
        auto& found = found_[std::size_t(row)];
        if (std::int64_t(found.size()) < p_) throw std::invalid_argument("scores contains NaN");
        std::nth_element(found.begin(), found.begin() + (p_ - 1), found.end());
        std::sort(found.begin(), found.begin() + p_);
        for (int k = 0; k < p_; ++k) cells[k] = cell_of_key(found[std::size_t(k)]);
    }

   private:
    static constexpr int kSteps = 10;  // to a thousandth of the range of scores

    std::int64_t block_end(std::int64_t b) const { return std::min(num_centroids_, (b + 1) * block_); }

    // Those of neighbouring blocks lie side by side, a vector of columns each.
    float* maxima(std::int64_t b, int column) { return maxima_.data() + column * num_blocks_ + b * kLanes; }

    void find_maxima(std::int64_t b) {
        for (int column = 0; column < columns_; column += kLanes) {
            vfloat largest = splat(-std::numeric_limits<float>::infinity());
            for (std::int64_t c = b * block_; c < block_end(b); ++c)
                largest = maximum(load(scores_ + c * columns_ + column), largest);
            store(maxima(b, column), largest);
        }
    }

    // Bisects between the smallest and the largest of the maxima; what is left is as good a bound, if a little lower.
    void find_bounds(int column) {
        constexpr float kInfinity = std::numeric_limits<float>::infinity();
        vfloat bound = splat(-kInfinity), above = bound;
        if (num_blocks_ >= p_) {
            bound = splat(kInfinity);
            for (std::int64_t b = 0; b < num_blocks_; ++b) {
                const vfloat largest = load(maxima(b, column));
                above = maximum(largest, above);
                bound = largest < bound ? largest : bound;
            }
            for (int step = 0; step < kSteps; ++step) {
                const vfloat middle = bound + (above - bound) * splat(0.5f);
                vint reached = {};
                for (std::int64_t b = 0; b < num_blocks_; ++b)
                    reached -= load(maxima(b, column)) >= middle;  // true is -1
                bound = reached >= splat(p_) ? middle : bound;
                above = reached >= splat(p_) ? above : middle;
            }
        }
        store(bounds_.data() + column, bound);
    }

    // Centroids of a block that reach the bound of a column.
    void collect(std::int64_t b) {
        for (int column = 0; column < columns_; column += kLanes) {
            const vfloat bound = load(bounds_.data() + column);
            if (lane_bits(load(maxima(b, column)) >= bound) == 0) continue;
            for (std::int64_t c = b * block_; c < block_end(b); ++c) {
                const float* scores = scores_ + c * columns_ + column;
                for (unsigned good = lane_bits(load(scores) >= bound); good != 0; good &= good - 1) {
                    const int i = __builtin_ctz(good);
                    found_[std::size_t(column + i)].push_back(cell_key(scores[i], std::int32_t(c)));
                }
            }
        }
    }

    const float* scores_;
    std::int64_t num_centroids_;
    int columns_, p_;
    std::int64_t block_, num_blocks_;
    Buffer<float> maxima_, bounds_;
    std::vector<std::vector<std::uint64_t>> found_;
};

// Where each cell's entries begin in lists of documents or tokens.
struct Cells {
    const std::int64_t* offsets;
    std::int64_t num_cells;
    const std::int32_t* docs;
    std::int64_t num_entries;

    // First entry and end of a cell.
    std::pair<std::int64_t, std::int64_t> range(std::int32_t cell) const {
        using std::to_string;
        if (cell < 0 || cell >= num_cells)
            throw std::invalid_argument("cells contains " + to_string(cell) + ", but there are " +
                                        to_string(num_cells) + " cells; are they from another index?");
        const std::int64_t start = offsets[cell], end = offsets[cell + 1];
        if (start < 0 || start > end || end > num_entries)
            throw std::invalid_argument("cell_offsets gives cell " + to_string(cell) + " the entries " +
                                        to_string(start) + " to " + to_string(end) +
                                        ", but they must not decrease and lie within 0 to " + to_string(num_entries) +
                                        ", the number of entries; is the file cut off?");
        return {start, end};
    }
};

// One bit for each document, set by the cells that hold it.
class DocumentSet {
   public:
    explicit DocumentSet(std::int64_t num_docs) : bits_(static_cast<std::size_t>((num_docs + 63) / 64)) {}

    // The cells are those of the `count` documents from `first` on.
    void add(const Cells& cells, std::int32_t cell, std::int64_t first, std::int64_t count) {
        using std::to_string;
        const auto [start, end] = cells.range(cell);
        for (std::int64_t k = start; k < end; ++k) {
            const std::int64_t doc = cells.docs[k];
            if (doc < 0 || doc >= count)
                throw std::invalid_argument("cell_docs contains " + to_string(doc) + ", but there are " +
                                            to_string(count) + " documents; are they from another index?");
            bits_[std::size_t(first + doc) / 64] |= std::uint64_t(1) << ((first + doc) % 64);
        }
    }

    std::int64_t size() const {
        std::int64_t size = 0;
        for (const std::uint64_t word : bits_) size += __builtin_popcountll(word);
        return size;
    }

    // Ascending.
    void list(std::int64_t* docs) const {
        for (std::size_t i = 0; i < bits_.size(); ++i)
            for (std::uint64_t word = bits_[i]; word != 0; word &= word - 1)
                *docs++ = std::int64_t(i) * 64 + __builtin_ctzll(word);
    }

   private:
    std::vector<std::uint64_t> bits_;
};

}  // namespace lir
