// Scores of all centroids for a query, and the same as bytes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "dot.hpp"
#include "memory.hpp"
#include "parallel.hpp"
#include "vec.hpp"

namespace lir {

// What a vector of query rows needs to become scores; lanes without a row are zero.
struct ScoreLanes {
    ScoreLanes(const std::int8_t* query, const float* query_scale, int rows, int dim, int columns)
        : scale(std::size_t(columns)), correction(std::size_t(columns)) {
        for (int row = 0; row < rows; ++row) {
            scale.data()[row] = query_scale[row];
            std::int32_t sum = 0;
            for (int k = 0; k < dim; ++k) sum += query[std::int64_t(row) * dim + k];
            correction.data()[row] = 128 * sum;
        }
    }
    Buffer<float> scale;
    Buffer<std::int32_t> correction;  // what 128 added to every byte of a centroid adds to the products
};

// One thread's way through its centroids.
class CentroidScorer {
   public:
    CentroidScorer(const ByteRows& layout, const ByteLanes& query, const ScoreLanes& factors, int columns)
        : layout_(layout),
          query_(query),
          factors_(factors),
          columns_(columns),
          lanes_(query.vectors() * kLanes),
          tile_(std::size_t(kTile) * layout.stride),
          products_(std::size_t(kTile) * lanes_) {}

    // `size` centroids, at most kTile
    void score(const std::uint8_t* centroids, const std::uint8_t* end, const float* centroid_scale, int size,
               float* scores) {
        // The products want unsigned bytes: c + 128 is c with its first bit flipped.
        layout_.read(centroids, size, end, 0x80, tile_.data());
        dot_all(tile_.data(), layout_, query_, products_.data());
        for (int r = 0; r < size; ++r, scores += columns_) {
            for (int i = 0; i < lanes_; i += kLanes) {
                const vint products = load(products_.data() + r * lanes_ + i);
                const vfloat scale = load(factors_.scale.data() + i) * splat(centroid_scale[r]);
                store(scores + i, scale * to_float(products - load(factors_.correction.data() + i)));
            }
            std::fill(scores + lanes_, scores + columns_, 0.0f);
        }
    }

   private:
    const ByteRows& layout_;
    const ByteLanes& query_;
    const ScoreLanes& factors_;
    int columns_, lanes_;
    Buffer<std::uint8_t> tile_;
    Buffer<std::int32_t> products_;
};

// scores[c * columns + i] = (query_scale[i] * centroid_scale[c]) * <query row i, centroid c>, 0 for i >= rows.
// columns is rows rounded up to a multiple of 16, which is one of kLanes as well.
inline void centroid_scores(const std::int8_t* query, const float* query_scale, int rows, int dim, int columns,
                            const std::int8_t* centroids, const float* centroid_scale, std::int64_t num_centroids,
                            int num_threads, float* scores) {
    const ByteRows layout(dim, 8);
    const ByteLanes lanes(query, rows, dim, layout);
    const ScoreLanes factors(query, query_scale, rows, dim, columns);
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(centroids);
    const std::int64_t size = 64 * kTile, pieces = (num_centroids + size - 1) / size;
    num_threads = int(std::min<std::int64_t>(num_threads, pieces));
    std::vector<std::unique_ptr<CentroidScorer>> workers;
    for (int i = 0; i < num_threads; ++i)
        workers.push_back(std::make_unique<CentroidScorer>(layout, lanes, factors, columns));
    parallel_for(num_threads, pieces, [&](int worker, std::int64_t piece) {
        const std::int64_t last = std::min(num_centroids, (piece + 1) * size);
        for (std::int64_t c = piece * size; c < last; c += kTile)
            workers[std::size_t(worker)]->score(bytes + c * dim, bytes + num_centroids * dim, centroid_scale + c,
                                                int(std::min<std::int64_t>(kTile, last - c)), scores + c * columns);
    });
}

// Smallest and largest score of the first `rows` columns.
inline void score_range(const float* scores, std::int64_t num_centroids, int rows, int columns, float* lo, float* hi) {
    *lo = std::numeric_limits<float>::infinity(), *hi = -*lo;
    const std::int64_t block = 64;  // centroids that stay in the first cache from column to column
    for (std::int64_t first = 0; first < num_centroids; first += block) {
        for (int column = 0; column < rows; column += kLanes) {
            vfloat smallest = splat(*lo), largest = splat(*hi);
            const vint used = lane_numbers() < splat(std::int32_t(rows - column));
            for (std::int64_t c = first; c < std::min(num_centroids, first + block); ++c) {
                const vfloat x = load(scores + c * columns + column);
                smallest = (used & (x < smallest)) ? x : smallest;
                largest = (used & (x > largest)) ? x : largest;
            }
            for (int i = 0; i < kLanes; ++i) *lo = std::min(*lo, smallest[i]), *hi = std::max(*hi, largest[i]);
        }
    }
}

// table = floor((scores - lo) * scale + .5) in the first `rows` columns, 0 in the others
inline void score_bytes(const float* scores, std::int64_t num_centroids, int rows, int columns, float lo, float scale,
                        std::uint8_t* table) {
    for (std::int64_t c = 0; c < num_centroids * columns; c += columns) {
        for (int column = 0; column < columns; column += 16) {
            std::int32_t rounded[16];
            for (int i = 0; i < 16; i += kLanes) {
                const vint used = lane_numbers() < splat(std::int32_t(rows - column - i));
                const vfloat x = (load(scores + c + column + i) - lo) * scale + 0.5f;
                // Scores are not below lo, so cutting off the fraction is rounding down.
                store(rounded + i, to_int(x < 255.0f ? x : splat(255.0f)) & used);
            }
            narrow16(rounded, table + c + column);
        }
    }
}

// The table; lo and step such that scores are about lo + step * table. All zeros if no step can be found.
inline void score_table(const float* scores, std::int64_t num_centroids, int rows, int columns, int num_threads,
                        std::uint8_t* table, float* lo, float* step) {
    const std::int64_t size = 8192, pieces = std::max<std::int64_t>((num_centroids + size - 1) / size, 1);
    std::vector<float> los(static_cast<std::size_t>(pieces)), his(los);
    const auto count = [&](std::int64_t piece) { return std::min(size, num_centroids - piece * size); };
    num_threads = int(std::min<std::int64_t>(num_threads, pieces));
    parallel_for(num_threads, pieces, [&](int, std::int64_t i) {
        score_range(scores + i * size * columns, count(i), rows, columns, &los[std::size_t(i)], &his[std::size_t(i)]);
    });
    *lo = *std::min_element(los.begin(), los.end());
    const float hi = *std::max_element(his.begin(), his.end());
    const bool empty = num_centroids == 0 || rows == 0;
    const float scale = empty ? 0.0f : 255.0f / (hi - *lo);
    *step = empty ? 0.0f : (hi - *lo) / 255.0f;
    if (empty) *lo = 0.0f;
    if (empty || !(scale <= std::numeric_limits<float>::max())) {
        std::memset(table, 0, std::size_t(num_centroids) * columns);
        return;
    }
    parallel_for(num_threads, pieces, [&](int, std::int64_t i) {
        score_bytes(scores + i * size * columns, count(i), rows, columns, *lo, scale, table + i * size * columns);
    });
}

}  // namespace lir
