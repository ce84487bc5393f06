// All documents of an index scored for some queries, and documents that are named.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "index.hpp"
#include "memory.hpp"
#include "parallel.hpp"
#include "top_k.hpp"

namespace lir {

// The best documents of a query so far, best first; of equal scores the first in the index.
struct Best {
    std::vector<std::int64_t> docids;
    std::vector<float> scores;

    // Documents that come after those before, with their scores.
    void add(const std::vector<std::int64_t>& more, const std::vector<float>& their, std::int64_t num_results) {
        docids.insert(docids.end(), more.begin(), more.end());
        scores.insert(scores.end(), their.begin(), their.end());
        Best kept;
        for (const std::int64_t place : top_k(scores.data(), std::int64_t(scores.size()), num_results)) {
            kept.docids.push_back(docids[std::size_t(place)]);
            kept.scores.push_back(scores[std::size_t(place)]);
        }
        *this = std::move(kept);
    }
};

// One query of a group that goes through the index together.
template <typename Code>
class ExhaustiveQuery {
   public:
    ExhaustiveQuery(const IndexArrays<Code>& index, const QueryArrays& query, int num_threads)
        : scorer_(index, query,
                  index.keeps_vectors() ? nullptr : score_centroids(index.codec, query, num_threads, room_)) {}

    void score(const std::vector<std::int64_t>& docids, const Documents& documents, std::int64_t num_results,
               int num_threads) {
        scores_.resize(docids.size());
        scorer_.score(documents, num_threads, scores_.data());
        best.add(docids, scores_, num_results);
    }

    Best best;

   private:
    Room<float> room_;
    DocumentScorer<Code> scorer_;
    std::vector<float> scores_;
};

// The best of all documents that are wanted. Blocks of documents are the outer loop, so that each is read from disk
// once for all queries of a group; between two blocks `between` is called, which may throw.
template <typename Code, typename Between>
std::vector<Best> exhaustive(const IndexArrays<Code>& index, const std::vector<QueryArrays>& queries,
                             std::int64_t num_results, const bool* wanted, int num_threads, const Between& between) {
    if (index.segments.empty()) return std::vector<Best>(queries.size());
    constexpr std::int64_t kBlock = 1 << 14;
    const auto size = std::int64_t(queries.size());
    const int outer = int(std::min<std::int64_t>(num_threads, size)), inner = outer > 1 ? 1 : num_threads;
    std::vector<std::unique_ptr<ExhaustiveQuery<Code>>> group(queries.size());
    parallel_for(outer, size, [&](int, std::int64_t q) {
        group[std::size_t(q)] = std::make_unique<ExhaustiveQuery<Code>>(index, queries[std::size_t(q)], inner);
    });
    std::vector<std::int64_t> docids;
    Places places;
    for (std::int64_t first = 0; first < index.num_docs; first += kBlock) {
        between();
        docids.clear();
        for (std::int64_t docid = first; docid < std::min(index.num_docs, first + kBlock); ++docid)
            if (wanted == nullptr || wanted[docid]) docids.push_back(docid);
        if (docids.empty()) continue;
        const Documents documents =
            places.find(index, &IndexSegment<Code>::tokens, docids.data(), std::int64_t(docids.size()));
        parallel_for(outer, size, [&](int, std::int64_t q) {
            group[std::size_t(q)]->score(docids, documents, num_results, inner);
        });
    }
    std::vector<Best> best;
    for (auto& query : group) best.push_back(std::move(query->best));
    return best;
}

}  // namespace lir
