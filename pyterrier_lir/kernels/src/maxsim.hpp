// Exact MaxSim over float or half-precision token vectors.
//
// Query rows lie in lanes. A tile of kTile tokens, from one or several documents, is widened to float in a small
// scratch; one register tile is R tokens x V vectors of query rows. Each dot product is one chain of multiply-adds
// over the dimensions in order, whatever its place in a tile, so a score depends neither on the other documents nor
// on the number of threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "memory.hpp"
#include "parallel.hpp"
#include "vec.hpp"

namespace lir {

constexpr int kTile = 12;    // tokens widened at a time; GCC unrolls loops of at most 16 rounds
constexpr int kDepth = 128;  // dimensions widened at a time; longer dot products are continued
static_assert(kDepth % kLanes == 0, "rows of the scratch must hold whole vectors");

// Which tokens belong to which document to score: document k has the tokens starts[k] .. ends[k] - 1 of part parts[k],
// where an index has several; a kernel that takes documents takes what each part holds.
struct Documents {
    const std::int64_t* starts;
    const std::int64_t* ends;
    std::int64_t size;
    const std::int32_t* parts = nullptr;

    std::size_t part(std::int64_t k) const { return parts == nullptr ? 0 : std::size_t(parts[k]); }
};

// The query's rows as lanes: blocks of two vectors of rows (the last one may be a single vector), and in each block
// the rows' values of dimension 0, then those of dimension 1, and so on. Lanes without a row are zero.
class QueryLanes {
   public:
    QueryLanes(const float* query, int rows, int dim)
        : vectors_((rows + kLanes - 1) / kLanes), dim_(dim), values_(std::size_t(vectors_) * kLanes * dim) {
        for (int row = 0; row < rows; ++row) {
            const int vector = row / kLanes, first = vector - vector % 2;
            float* block = values_.data() + std::size_t(first) * kLanes * dim;
            const int width = block_vectors(first) * kLanes;
            const int lane = row - first * kLanes;
            for (int k = 0; k < dim; ++k) block[std::size_t(k) * width + lane] = query[std::size_t(row) * dim + k];
        }
    }
    int vectors() const { return vectors_; }
    int block_vectors(int first) const { return std::min(2, vectors_ - first); }
    const float* block(int first) const { return values_.data() + std::size_t(first) * kLanes * dim_; }

   private:
    int vectors_, dim_;
    Buffer<float> values_;
};

// Few numbers: here, for the call of a library takes longer.
inline void widen(const float* from, int size, float* to) {
    int k = 0;
    for (; k + kLanes <= size; k += kLanes) store(to + k, load(from + k));
    for (; k < size; ++k) to[k] = from[k];
}

inline void widen(const std::uint16_t* from, int size, float* to) {
    int k = 0;
    for (; k + kLanes <= size; k += kLanes) store(to + k, load_half(from + k));
    if (k < size) {
        std::uint16_t rest[kLanes] = {};
        std::memcpy(rest, from + k, std::size_t(size - k) * sizeof(std::uint16_t));
        store(to + k, load_half(rest));
    }
}

// Rows that are multiplied at a time with V vectors: as many as divide the tile, and as there are registers for sums.
constexpr int register_rows(int vectors) {
    int rows = std::min(kTile, kAccumulators / vectors);
    while (kTile % rows != 0) --rows;
    return rows;
}

// Adds to similarities[token][row] the products of `depth` dimensions, or puts them there, for kCount tokens and V
// vectors of rows. kCount is known to the compiler: else nearest() takes twice as long.
template <int V, int kCount = kTile>
void add_products(const float* tokens, const float* query, int depth, float* similarities, int stride, bool put) {
    constexpr int R = register_rows(V);
    for (int first = 0; first < kCount; first += R, tokens += R * kDepth, similarities += std::size_t(R) * stride) {
        vfloat sum[R][V];
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < V; ++v) sum[r][v] = put ? vfloat{} : load(similarities + r * stride + v * kLanes);
        for (int k = 0; k < depth; ++k) {
            vfloat q[V];
            for (int v = 0; v < V; ++v) q[v] = load(query + (std::size_t(k) * V + v) * kLanes);
            for (int r = 0; r < R; ++r) {
                const vfloat x = splat(tokens[r * kDepth + k]);
                for (int v = 0; v < V; ++v) sum[r][v] = fmadd(x, q[v], sum[r][v]);
            }
        }
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < V; ++v) store(similarities + r * stride + v * kLanes, sum[r][v]);
    }
}

// One thread's way through its documents.
template <typename Token>
class MaxSimWorker {
   public:
    MaxSimWorker(const QueryLanes& query, int rows, int dim, const float* weights)
        : query_(query),
          rows_(rows),
          dim_(dim),
          stride_(query.vectors() * kLanes),
          weights_(weights),
          scratch_(kTile * kDepth),
          similarities_(std::size_t(kTile) * stride_),
          best_(std::size_t(stride_)) {}

    void score(const Token* const* parts, const Documents& documents, std::int64_t first, std::int64_t last, float* scores) {
        current_ = -1;
        filled_ = 0;
        for (std::int64_t k = first; k < last; ++k) {
            scores[k] = -std::numeric_limits<float>::infinity();
            const Token* tokens = parts[documents.part(k)];
            for (std::int64_t t = documents.starts[k]; t < documents.ends[k]; ++t) {
                token_[filled_] = tokens + t * dim_;
                document_[filled_] = k;
                if (++filled_ == kTile) finish_tile(scores);
            }
        }
        if (filled_ > 0) finish_tile(scores);
        if (current_ >= 0) scores[current_] = weighted_sum();
    }

   private:
    void finish_tile(float* scores) {
        for (int k = 0; k < dim_; k += kDepth) {
            const int depth = std::min(kDepth, dim_ - k);
            for (int r = 0; r < filled_; ++r) widen(token_[r] + k, depth, scratch_.data() + r * kDepth);
            for (int v = 0; v < query_.vectors(); v += 2) {
                const int width = query_.block_vectors(v);
                const float* block = query_.block(v) + std::size_t(k) * width * kLanes;
                float* similarities = similarities_.data() + v * kLanes;
                if (width == 2)
                    add_products<2>(scratch_.data(), block, depth, similarities, stride_, k == 0);
                else
                    add_products<1>(scratch_.data(), block, depth, similarities, stride_, k == 0);
            }
        }
        for (int r = 0; r < filled_; ++r) {
            if (document_[r] != current_) {
                if (current_ >= 0) scores[current_] = weighted_sum();
                current_ = document_[r];
                std::fill_n(best_.data(), stride_, -std::numeric_limits<float>::infinity());
            }
            const float* row = similarities_.data() + std::size_t(r) * stride_;
            for (int i = 0; i < stride_; i += kLanes)
                store(best_.data() + i, maximum(load(row + i), load(best_.data() + i)));
        }
        filled_ = 0;
    }

    float weighted_sum() const {
        float sum = 0;
        for (int i = 0; i < rows_; ++i) sum += weights_ ? weights_[i] * best_.data()[i] : best_.data()[i];
        return sum;
    }

    const QueryLanes& query_;
    int rows_, dim_, stride_;
    const float* weights_;
    Buffer<float> scratch_, similarities_, best_;
    const Token* token_[kTile];
    std::int64_t document_[kTile];
    std::int64_t current_ = -1;  // the document that best_ belongs to
    int filled_ = 0;
};

// Borders that cut the documents into at most `pieces` pieces of about equally many tokens.
inline std::vector<std::int64_t> balanced_borders(const Documents& documents, std::int64_t pieces) {
    std::int64_t total = 0;
    for (std::int64_t k = 0; k < documents.size; ++k) total += documents.ends[k] - documents.starts[k];
    const std::int64_t target = total / pieces + 1;
    std::vector<std::int64_t> borders = {0};
    std::int64_t tokens = 0;
    for (std::int64_t k = 0; k < documents.size; ++k) {
        tokens += documents.ends[k] - documents.starts[k];
        if (tokens >= target * std::int64_t(borders.size()) && k + 1 < documents.size) borders.push_back(k + 1);
    }
    borders.push_back(documents.size);
    return borders;
}

// scores[k] = sum_i weights[i] * max over document k's tokens t of <query row i, token t>
template <typename Token>
void maxsim(const float* query, int rows, int dim, const float* weights, const Token* const* parts,
            const Documents& documents, int num_threads, float* scores) {
    const QueryLanes lanes(query, rows, dim);
    // Several pieces per thread even out what the system takes away from one of them.
    const auto borders = balanced_borders(documents, num_threads == 1 ? 1 : 4 * std::int64_t(num_threads));
    const std::int64_t pieces = std::int64_t(borders.size()) - 1;
    num_threads = int(std::min<std::int64_t>(num_threads, pieces));
    std::vector<std::unique_ptr<MaxSimWorker<Token>>> workers;
    for (int i = 0; i < num_threads; ++i)
        workers.push_back(std::make_unique<MaxSimWorker<Token>>(lanes, rows, dim, weights));
    parallel_for(num_threads, pieces, [&](int worker, std::int64_t piece) {
        workers[std::size_t(worker)]->score(parts, documents, borders[std::size_t(piece)],
                                            borders[std::size_t(piece) + 1], scores);
    });
}

}  // namespace lir
