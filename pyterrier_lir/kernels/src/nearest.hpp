// The centroids with the largest inner products, for each row of a matrix.
//
// Centroids lie in lanes, as the query's rows do in maxsim.hpp, whose register tiles do the products. A block of two
// vectors of centroids (16 KB at 128 dimensions) stays in the first cache while all tiles of a batch of rows pass by
// it; the batch stays in the second.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <vector>

#include "maxsim.hpp"
#include "memory.hpp"
#include "parallel.hpp"
#include "vec.hpp"

namespace lir {

// Rows of a matrix, widened to float in pieces of kDepth dimensions, as add_products wants them.
template <typename Number>
class Batch {
   public:
    explicit Batch(int dim) : dim_(dim), depths_((dim + kDepth - 1) / kDepth), rows_(tiles(dim) * kTile),
          values_(std::size_t(depths_) * rows_ * kDepth) {}

    // As many tiles as take 128 KB, but no more than 20: beyond that, the centroids are read often enough.
    static int tiles(int dim) { return std::clamp(20 * kDepth / dim, 1, 20); }

    int rows() const { return rows_; }

    void fill(const Number* from, int rows) {
        for (int r = 0; r < rows; ++r) set(r, from + std::int64_t(r) * dim_);
    }

    void set(int row, const Number* from) {
        for (int piece = 0; piece < depths_; ++piece) {
            const int first = piece * kDepth, depth = std::min(kDepth, dim_ - first);
            widen(from + first, depth, values_.data() + (std::size_t(piece) * rows_ + row) * kDepth);
        }
    }

    // products[r][lane] = <row first + r, centroid of the lane>, for kTile rows and V vectors of centroids; of those rows
    // only the first `wanted` need be right.
    template <int V>
    void products(int first, const float* centroids, float* products, int wanted = kTile) const {
        for (int piece = 0; piece < depths_; ++piece) {
            const int depth = std::min(kDepth, dim_ - piece * kDepth), stride = V * kLanes;
            const float* rows = values_.data() + (std::size_t(piece) * rows_ + first) * kDepth;
            const float* lanes = centroids + std::size_t(piece) * kDepth * stride;
            if (wanted <= register_rows(V))
                add_products<V, register_rows(V)>(rows, lanes, depth, products, stride, piece == 0);
            else
                add_products<V>(rows, lanes, depth, products, stride, piece == 0);
        }
    }

   private:
    int dim_, depths_, rows_;
    Buffer<float> values_;
};

// For each row and lane, the best centroid so far.
class BestInLanes {
   public:
    explicit BestInLanes(int rows) : scores_(std::size_t(rows) * kLanes), codes_(std::size_t(rows) * kLanes) {}

    void clear(int rows) {
        std::fill_n(scores_.data(), std::size_t(rows) * kLanes, -std::numeric_limits<float>::infinity());
        std::fill_n(codes_.data(), std::size_t(rows) * kLanes, 0);
    }

    // Only what is better replaces what is there: among equals, the lane keeps the lower number.
    void add(int row, vfloat scores, vint codes) {
        float* best = scores_.data() + std::size_t(row) * kLanes;
        std::int32_t* found = codes_.data() + std::size_t(row) * kLanes;
        const auto better = scores > load(best);
        store(best, better ? scores : load(best));
        store(found, better ? codes : load(found));
    }

    void get(int row, std::int32_t* code, float* score) const {
        const float* scores = scores_.data() + std::size_t(row) * kLanes;
        const std::int32_t* codes = codes_.data() + std::size_t(row) * kLanes;
        *score = scores[0], *code = codes[0];
        for (int i = 1; i < kLanes; ++i)
            if (scores[i] > *score || (scores[i] == *score && codes[i] < *code)) *score = scores[i], *code = codes[i];
    }

   private:
    Buffer<float> scores_;
    Buffer<std::int32_t> codes_;
};

template <typename Number>
class NearestWorker {
   public:
    NearestWorker(const QueryLanes& centroids, int num_centroids, int dim)
        : centroids_(centroids),
          num_centroids_(num_centroids),
          batch_(dim),
          products_(kTile * 2 * kLanes),
          best_(batch_.rows()) {}

    void find(const Number* x, int rows, std::int32_t* codes, float* scores) {
        batch_.fill(x, rows);
        best_.clear(batch_.rows());
        for (int v = 0; v < centroids_.vectors(); v += 2) {
            if (centroids_.block_vectors(v) == 2)
                add_block<2>(v, rows);
            else
                add_block<1>(v, rows);
        }
        for (int r = 0; r < rows; ++r) best_.get(r, codes + r, scores + r);
    }

   private:
    template <int V>
    void add_block(int first_vector, int rows) {
        vint codes[V];
        for (int v = 0; v < V; ++v) codes[v] = lane_numbers() + (first_vector + v) * kLanes;
        const int used = std::min(V * kLanes, num_centroids_ - first_vector * kLanes);
        for (int first = 0; first < rows; first += kTile) {
            batch_.template products<V>(first, centroids_.block(first_vector), products_.data());
            for (int r = 0; r < kTile; ++r) {
                float* row = products_.data() + r * V * kLanes;
                // Lanes without a centroid hold zeros, which must not win.
                std::fill(row + used, row + V * kLanes, -std::numeric_limits<float>::infinity());
                for (int v = 0; v < V; ++v) best_.add(first + r, load(row + v * kLanes), codes[v]);
            }
        }
    }

    const QueryLanes& centroids_;
    int num_centroids_;
    Batch<Number> batch_;
    Buffer<float> products_;
    BestInLanes best_;
};

// All products of a few rows with a few hundred centroids, and the best `count` of them.
template <typename Number>
class GroupsWorker {
   public:
    GroupsWorker(const QueryLanes& centroids, int num_centroids, int dim, int count)
        : centroids_(centroids),
          count_(count),
          batch_(dim),
          block_(kTile * 2 * kLanes),
          products_(std::size_t(kTile) * centroids.vectors() * kLanes),
          order_(std::size_t(num_centroids)) {}

    void find(const Number* x, int rows, std::int32_t* groups) {
        batch_.fill(x, rows);
        for (int v = 0; v < centroids_.vectors(); v += 2) {
            if (centroids_.block_vectors(v) == 2)
                multiply<2>(v);
            else
                multiply<1>(v);
        }
        for (int r = 0; r < rows; ++r) {
            const float* row = products_.data() + std::size_t(r) * centroids_.vectors() * kLanes;
            std::iota(order_.begin(), order_.end(), 0);
            std::partial_sort(order_.begin(), order_.begin() + count_, order_.end(), [row](int a, int b) {
                return row[a] != row[b] ? row[a] > row[b] : a < b;
            });
            std::copy_n(order_.begin(), count_, groups + std::int64_t(r) * count_);
        }
    }

   private:
    template <int V>
    void multiply(int first_vector) {
        batch_.template products<V>(0, centroids_.block(first_vector), block_.data());
        for (int r = 0; r < kTile; ++r)
            std::copy_n(block_.data() + r * V * kLanes, V * kLanes,
                        products_.data() + (std::size_t(r) * centroids_.vectors() + first_vector) * kLanes);
    }

    const QueryLanes& centroids_;
    int count_;
    Batch<Number> batch_;
    Buffer<float> block_, products_;
    std::vector<int> order_;
};

// codes[t], scores[t]: number and score of row t's best centroid, the lowest number where several are best
template <typename Number>
void nearest(const Number* x, std::int64_t rows, int dim, const float* centroids, int num_centroids, int num_threads,
             std::int32_t* codes, float* scores) {
    const QueryLanes lanes(centroids, num_centroids, dim);
    const std::int64_t piece = Batch<Number>::tiles(dim) * kTile, pieces = (rows + piece - 1) / piece;
    num_threads = int(std::min<std::int64_t>(num_threads, pieces));
    std::vector<std::unique_ptr<NearestWorker<Number>>> workers;
    for (int i = 0; i < num_threads; ++i)
        workers.push_back(std::make_unique<NearestWorker<Number>>(lanes, num_centroids, dim));
    parallel_for(num_threads, pieces, [&](int worker, std::int64_t i) {
        const std::int64_t first = i * piece;
        workers[std::size_t(worker)]->find(x + first * dim, int(std::min(piece, rows - first)), codes + first,
                                           scores + first);
    });
}

// groups[t * count ..]: numbers of row t's `count` best centroids, best first, the lower number where scores tie
template <typename Number>
void nearest_groups(const Number* x, std::int64_t rows, int dim, const float* centroids, int num_centroids, int count,
                    int num_threads, std::int32_t* groups) {
    const QueryLanes lanes(centroids, num_centroids, dim);
    const std::int64_t piece = 20 * kTile, pieces = (rows + piece - 1) / piece;
    num_threads = int(std::min<std::int64_t>(num_threads, pieces));
    std::vector<std::unique_ptr<GroupsWorker<Number>>> workers;
    for (int i = 0; i < num_threads; ++i)
        workers.push_back(std::make_unique<GroupsWorker<Number>>(lanes, num_centroids, dim, count));
    parallel_for(num_threads, pieces, [&](int worker, std::int64_t i) {
        const std::int64_t last = std::min(rows, (i + 1) * piece);
        for (std::int64_t first = i * piece; first < last; first += kTile)
            workers[std::size_t(worker)]->find(x + first * dim, int(std::min<std::int64_t>(kTile, last - first)),
                                               groups + first * count);
    });
}

}  // namespace lir
