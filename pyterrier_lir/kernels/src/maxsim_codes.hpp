// MaxSim of documents from the codes of their tokens: centroids' scores, and packed levels of the residuals.
//
// As in maxsim.hpp, query rows lie in lanes and a tile of kTile tokens may span documents. Here the levels are unpacked
// into a scratch of bytes, and the products are integers. The floats after them are computed one operation at a time,
// so that every build gives the same bits.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "codes.hpp"
#include "dot.hpp"
#include "maxsim.hpp"
#include "memory.hpp"
#include "parallel.hpp"
#include "vec.hpp"

namespace lir {

// How far ahead packed bytes are fetched from memory, and of the next document as soon as one begins: a tenth to a
// fifth of the time when documents are picked at random.
constexpr int kAhead = 2048;

// The query: what each row adds to the score of a centroid, and what one unit of its products is.
struct QueryBytes {
    QueryBytes(const std::int8_t* query, const float* scales, const float* biases, int rows, int dim,
               const ByteRows& layout)
        : rows(rows),
          lanes(query, rows, dim, layout),
          scale(std::size_t(lanes.vectors()) * kLanes),
          bias(std::size_t(lanes.vectors()) * kLanes) {
        std::copy_n(scales, rows, scale.data());
        std::copy_n(biases, rows, bias.data());
    }
    int rows;
    ByteLanes lanes;
    Buffer<float> scale, bias;
};

// Tokens: the code of each names a row of `columns` scores, the packed levels are as ByteRows says.
template <typename Code>
struct CodedTokens {
    Codes<Code> codes;
    const float* centroid_scores;
    int columns;
    const std::uint8_t* packed;
    const std::uint8_t* packed_end;
    const std::uint8_t* inv_norm;  // or null: no normalisation
    const float* inv_norm_table;

    const float* scores(std::int64_t t) const { return centroid_scores + codes[t] * columns; }
    float factor(std::int64_t t) const { return inv_norm == nullptr ? 1.0f : inv_norm_table[inv_norm[t]]; }
};

// One thread's way through its documents.
template <typename Code>
class MaxSimCodesWorker {
   public:
    MaxSimCodesWorker(const QueryBytes& query, const ByteRows& layout, const CodedTokens<Code>* parts)
        : query_(query),
          layout_(layout),
          parts_(parts),
          lanes_(query.lanes.vectors() * kLanes),
          levels_(std::size_t(kTile) * layout.stride),
          products_(std::size_t(kTile) * lanes_),
          best_(std::size_t(lanes_)) {}

    // Throws where a token's code names no centroid.
    void score(const Documents& documents, std::int64_t first, std::int64_t last, float* scores) {
        current_ = -1;
        filled_ = num_runs_ = 0;
        for (std::int64_t k = first; k < last; ++k) {
            scores[k] = -std::numeric_limits<float>::infinity();
            if (k + 1 < last)
                prefetch(parts_[documents.part(k + 1)], documents.starts[k + 1], documents.ends[k + 1], 0, kAhead);
            const CodedTokens<Code> tokens = parts_[documents.part(k)];
            for (std::int64_t t = documents.starts[k]; t < documents.ends[k];) {
                const int size = int(std::min<std::int64_t>(kTile - filled_, documents.ends[k] - t));
                prefetch(tokens, t, documents.ends[k], kAhead, size * layout_.width);
                add_run(tokens, k, t, size);
                if (filled_ == kTile) finish_tile(scores);
                t += size;
            }
        }
        if (filled_ > 0) finish_tile(scores);
        if (current_ >= 0) scores[current_] = sum_of_best();
    }

   private:
    // Tokens of one document in the tile.
    struct Run {
        std::int64_t document;
        int first, last;
    };

    // `size` packed bytes, `skip` bytes behind the first token, but not beyond the last.
    void prefetch(const CodedTokens<Code>& tokens, std::int64_t first, std::int64_t last, std::int64_t skip,
                  std::int64_t size) const {
        const std::uint8_t* packed = tokens.packed + first * layout_.width;
        const std::int64_t end = std::min(skip + size, (last - first) * layout_.width);
        for (std::int64_t i = skip; i < end; i += 64) __builtin_prefetch(packed + i);
    }

    void add_run(const CodedTokens<Code>& tokens, std::int64_t document, std::int64_t first, int size) {
        for (int r = 0; r < size; ++r) {
            if (!tokens.codes.exists(first + r)) tokens.codes.refuse(first + r);
            scores_[filled_ + r] = tokens.scores(first + r);
            factor_[filled_ + r] = tokens.factor(first + r);
        }
        layout_.read(tokens.packed + first * layout_.width, size, tokens.packed_end, 0,
                     levels_.data() + filled_ * layout_.stride);
        runs_[num_runs_++] = Run{document, filled_, filled_ + size};
        filled_ += size;
    }

    void finish_tile(float* scores) {
        // What is left of an earlier tile behind these rows is multiplied as well, and not used.
        dot_all(levels_.data(), layout_, query_.lanes, products_.data());
        for (int i = 0; i < num_runs_; ++i) {
            if (runs_[i].document != current_) {
                if (current_ >= 0) scores[current_] = sum_of_best();
                current_ = runs_[i].document;
                std::fill_n(best_.data(), lanes_, -std::numeric_limits<float>::infinity());
            }
            int lane = 0;
            for (; lane + 2 * kLanes <= lanes_; lane += 2 * kLanes) add_to_best<2>(runs_[i], lane);
            if (lane < lanes_) add_to_best<1>(runs_[i], lane);
        }
        filled_ = num_runs_ = 0;
    }

    // V vectors of query rows from a lane on.
    template <int V>
    void add_to_best(const Run& run, int lane) {
        vfloat scale[V], bias[V], best[V];
        for (int v = 0; v < V; ++v) {
            scale[v] = load(query_.scale.data() + lane + v * kLanes);
            bias[v] = load(query_.bias.data() + lane + v * kLanes);
            best[v] = load(best_.data() + lane + v * kLanes);
        }
        const std::int32_t* products = products_.data() + run.first * lanes_ + lane;
#pragma GCC unroll 1
        for (int r = run.first; r < run.last; ++r, products += lanes_) {
            const vfloat factor = splat(factor_[r]);
            for (int v = 0; v < V; ++v) {
                const vfloat residual = scale[v] * to_float(load(products + v * kLanes));
                const vfloat offset = load(scores_[r] + lane + v * kLanes) + bias[v];
                best[v] = maximum((offset + residual) * factor, best[v]);
            }
        }
        for (int v = 0; v < V; ++v) store(best_.data() + lane + v * kLanes, best[v]);
    }

    float sum_of_best() const {
        float sum = 0;
        for (int i = 0; i < query_.rows; ++i) sum += best_.data()[i];
        return sum;
    }

    const QueryBytes& query_;
    const ByteRows& layout_;
    const CodedTokens<Code>* parts_;
    int lanes_;
    Buffer<std::uint8_t> levels_;
    Buffer<std::int32_t> products_;
    Buffer<float> best_;
    const float* scores_[kTile];
    float factor_[kTile];
    Run runs_[kTile];
    int num_runs_ = 0;
    std::int64_t current_ = -1;  // the document that best_ belongs to
    int filled_ = 0;
};

// scores[k] = sum_i max over document k's tokens t of ((S[code, i] + bias[i]) + scale[i] * products[t, i]) * factor[t]
template <typename Code>
void maxsim_codes(const QueryBytes& query, const ByteRows& layout, const CodedTokens<Code>* parts,
                  const Documents& documents, int num_threads, float* scores) {
    const auto borders = balanced_borders(documents, num_threads == 1 ? 1 : 4 * std::int64_t(num_threads));
    const std::int64_t pieces = std::int64_t(borders.size()) - 1;
    num_threads = int(std::min<std::int64_t>(num_threads, pieces));
    std::vector<std::unique_ptr<MaxSimCodesWorker<Code>>> workers;
    for (int i = 0; i < num_threads; ++i)
        workers.push_back(std::make_unique<MaxSimCodesWorker<Code>>(query, layout, parts));
    parallel_for(num_threads, pieces, [&](int worker, std::int64_t piece) {
        workers[std::size_t(worker)]->score(documents, borders[std::size_t(piece)], borders[std::size_t(piece) + 1],
                                            scores);
    });
}

}  // namespace lir
