// The best tokens of all for each row of a query: XTR's token retrieval.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "maxsim.hpp"
#include "maxsim_codes.hpp"
#include "memory.hpp"
#include "parallel.hpp"
#include "vec.hpp"

namespace lir {

// A document's number, and the score of one of its tokens with a row.
struct TokenScore {
    std::int64_t doc;
    float score;
};

// The `count` best of the tokens that one row was shown, in the order in which they came; of equal scores the first.
class BestTokens {
   public:
    explicit BestTokens(std::int64_t count) : count_(std::size_t(count)) {}

    // Later tokens that score this or less are none of the best; nothing is less than NaN, which is where it begins.
    float bound() const { return bound_; }

    void add(TokenScore token) {
        found_.push_back(token);
        if (found_.size() >= 2 * count_ + 64) keep_best();
    }

    // Tokens of other documents.
    void add(const BestTokens& other) {
        const auto middle = found_.insert(found_.end(), other.found_.begin(), other.found_.end());
        std::inplace_merge(found_.begin(), middle, found_.end(), [](auto& a, auto& b) { return a.doc < b.doc; });
    }

    const std::vector<TokenScore>& finish() {
        keep_best();
        return found_;
    }

   private:
    void keep_best() {
        if (found_.size() < count_) return;
        scores_.clear();
        for (const TokenScore& token : found_) scores_.push_back(token.score);
        std::nth_element(scores_.begin(), scores_.begin() + std::ptrdiff_t(count_ - 1), scores_.end(),
                         std::greater<float>());
        bound_ = scores_[count_ - 1];
        std::size_t ties = count_;  // how many that score the bound are among the best
        for (const TokenScore& token : found_) ties -= token.score > bound_;
        std::size_t kept = 0;
        for (const TokenScore& token : found_) {
            if (token.score < bound_ || (token.score == bound_ && ties == 0)) continue;
            ties -= token.score == bound_;
            found_[kept++] = token;
        }
        found_.resize(kept);
    }

    std::size_t count_;
    float bound_ = std::numeric_limits<float>::quiet_NaN();
    std::vector<TokenScore> found_;
    std::vector<float> scores_;
};

// Similarities of tokens that lie as floats or half-precision numbers: a source for TopTokensWorker.
template <typename Token>
class ExactSimilarities {
   public:
    ExactSimilarities(const QueryLanes& query, int dim, const Token* tokens)
        : query_(query), dim_(dim), tokens_(tokens), scratch_(kTile * kDepth) {}

    int lanes() const { return query_.vectors() * kLanes; }

    // similarities[r * lanes() + row] of at most kTile tokens. Returns a token that cannot be scored, or -1.
    std::int64_t compute(std::int64_t first, int size, float* similarities) {
        for (int k = 0; k < dim_; k += kDepth) {
            const int depth = std::min(kDepth, dim_ - k);
            for (int r = 0; r < size; ++r)
                widen(tokens_ + (first + r) * dim_ + k, depth, scratch_.data() + r * kDepth);
            for (int v = 0; v < query_.vectors(); v += 2) {
                const int width = query_.block_vectors(v);
                const float* block = query_.block(v) + std::size_t(k) * width * kLanes;
                if (width == 2)
                    add_products<2>(scratch_.data(), block, depth, similarities + v * kLanes, lanes(), k == 0);
                else
                    add_products<1>(scratch_.data(), block, depth, similarities + v * kLanes, lanes(), k == 0);
            }
        }
        return -1;
    }

   private:
    const QueryLanes& query_;
    int dim_;
    const Token* tokens_;
    Buffer<float> scratch_;
};

// The same for tokens that lie as codes; the formula is that of maxsim_codes.
template <typename Code>
class CodedSimilarities {
   public:
    CodedSimilarities(const QueryBytes& query, const ByteRows& layout, const CodedTokens<Code>& tokens)
        : query_(query),
          layout_(layout),
          tokens_(tokens),
          levels_(std::size_t(kTile) * layout.stride),
          products_(std::size_t(kTile) * lanes()) {}

    int lanes() const { return query_.lanes.vectors() * kLanes; }

    std::int64_t compute(std::int64_t first, int size, float* similarities) {
        for (int r = 0; r < size; ++r)
            if (!tokens_.codes.exists(first + r)) return first + r;
        layout_.read(tokens_.packed + first * layout_.width, size, tokens_.packed_end, 0, levels_.data());
        dot_all(levels_.data(), layout_, query_.lanes, products_.data());
        for (int r = 0; r < size; ++r) {
            const float* scores = tokens_.scores(first + r);
            const vfloat factor = splat(tokens_.factor(first + r));
            for (int i = r * lanes(), lane = 0; lane < lanes(); i += kLanes, lane += kLanes) {
                const vfloat residual = load(query_.scale.data() + lane) * to_float(load(products_.data() + i));
                const vfloat offset = load(scores + lane) + load(query_.bias.data() + lane);
                store(similarities + i, (offset + residual) * factor);
            }
        }
        return -1;
    }

   private:
    const QueryBytes& query_;
    const ByteRows& layout_;
    const CodedTokens<Code>& tokens_;
    Buffer<std::uint8_t> levels_;
    Buffer<std::int32_t> products_;
};

// One thread's way through its documents, which come in ascending order.
template <typename Similarities>
class TopTokensWorker {
   public:
    TopTokensWorker(std::unique_ptr<Similarities> source, int rows, std::int64_t count)
        : best(std::size_t(rows), BestTokens(count)),
          source_(std::move(source)),
          rows_(rows),
          lanes_(source_->lanes()),
          similarities_(std::size_t(kTile) * lanes_),
          bounds_(std::size_t(lanes_)) {
        for (int row = 0; row < lanes_; ++row)
            bounds_.data()[row] = row < rows ? best[std::size_t(row)].bound() : std::numeric_limits<float>::infinity();
    }

    // Shows a document's tokens to the rows. Stops at one that cannot be scored and returns it; -1 if all is well.
    std::int64_t scan(std::int64_t doc, std::int64_t start, std::int64_t end) {
        for (std::int64_t first = start; first < end; first += kTile) {
            const int size = int(std::min<std::int64_t>(kTile, end - first));
            const std::int64_t wrong = source_->compute(first, size, similarities_.data());
            if (wrong >= 0) return wrong;
            for (int r = 0; r < size; ++r)
                for (int lane = 0; lane < lanes_; lane += kLanes) offer(doc, r * lanes_ + lane, lane);
        }
        return -1;
    }

    std::vector<BestTokens> best;  // of each row

   private:
    void offer(std::int64_t doc, int place, int lane) {
        const float* scores = similarities_.data() + place;
        unsigned better = lane_bits(~(load(scores) <= load(bounds_.data() + lane)));
        for (; better != 0; better &= better - 1) {
            const int i = __builtin_ctz(better);
            if (lane + i >= rows_) return;
            BestTokens& row = best[std::size_t(lane + i)];
            // A damaged file may hold NaN, which cannot be sorted.
            row.add({doc, scores[i] == scores[i] ? scores[i] : -std::numeric_limits<float>::infinity()});
            bounds_.data()[lane + i] = row.bound();
        }
    }

    std::unique_ptr<Similarities> source_;
    int rows_, lanes_;
    Buffer<float> similarities_, bounds_;
};

template <typename Similarities>
using TopTokensWorkers = std::vector<std::unique_ptr<TopTokensWorker<Similarities>>>;

// Shows all tokens of the documents to the workers, and leaves the best in the first one. Returns a token that cannot be scored, or -1.
template <typename Similarities>
std::int64_t top_tokens(const Documents& documents, const TopTokensWorkers<Similarities>& workers) {
    const int num_threads = int(workers.size());
    const auto borders = balanced_borders(documents, num_threads == 1 ? 1 : 4 * std::int64_t(num_threads));
    std::vector<std::int64_t> wrong(workers.size(), -1);
    parallel_for(num_threads, std::int64_t(borders.size()) - 1, [&](int worker, std::int64_t piece) {
        for (std::int64_t k = borders[std::size_t(piece)]; k < borders[std::size_t(piece) + 1]; ++k) {
            const std::int64_t found = workers[std::size_t(worker)]->scan(k, documents.starts[k], documents.ends[k]);
            if (found >= 0) wrong[std::size_t(worker)] = found;
        }
    });
    for (const std::int64_t token : wrong)
        if (token >= 0) return token;
    for (std::size_t i = 1; i < workers.size(); ++i)
        for (std::size_t row = 0; row < workers[0]->best.size(); ++row)
            workers[0]->best[row].add(workers[i]->best[row]);
    return -1;
}

}  // namespace lir
