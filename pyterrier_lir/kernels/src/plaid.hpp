// PLAID for one query: candidates from cells, centroid interaction, exact scores, over all segments of an index.
//
// The same as the stages of retrieve/plaid.py, which are this one's specification, in one call.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "cells.hpp"
#include "centroid_maxsim.hpp"
#include "centroid_scores.hpp"
#include "index.hpp"
#include "memory.hpp"
#include "top_k.hpp"

namespace lir {

struct PlaidSettings {
    int nprobe;
    std::int64_t ndocs;
    std::optional<float> threshold;  // of similarities before weights
    std::int64_t at_least;      // documents that reach every stage, where there are so many
    std::int64_t num_results;
    const bool* wanted;         // which documents are searched; null for all
};

struct PlaidResult {
    std::vector<std::int64_t> docids;  // best first
    std::vector<float> scores;
    std::int64_t candidates = 0, scored = 0;
    double milliseconds[3] = {};  // of each stage
};

// Searches query after query, in memory that it keeps.
template <typename Code>
class PlaidSearcher {
   public:
    explicit PlaidSearcher(const IndexArrays<Code>& index) : index_(index) {
        for (const auto& segment : index.segments) doc_codes_.push_back(segment.doc_codes);
    }

    PlaidResult search(const QueryArrays& query, const PlaidSettings& settings, int num_threads) {
        using Clock = std::chrono::steady_clock;
        PlaidResult result;
        const auto begin = Clock::now();
        const float* scores = score_centroids(index_.codec, query, num_threads, scores_);
        find_candidates(query, scores, settings);
        result.candidates = std::int64_t(docids_.size());
        const auto found = Clock::now();
        interact(query, scores, settings, num_threads);
        result.scored = std::int64_t(docids_.size());
        const auto kept = Clock::now();
        score(query, scores, num_threads);
        for (const std::int64_t place : top_k(exact_.data(), result.scored, settings.num_results)) {
            result.docids.push_back(docids_[std::size_t(place)]);
            result.scores.push_back(exact_[std::size_t(place)]);
        }
        const Clock::time_point times[] = {begin, found, kept, Clock::now()};
        for (int i = 0; i < 3; ++i)
            result.milliseconds[i] = std::chrono::duration<double, std::milli>(times[i + 1] - times[i]).count();
        return result;
    }

   private:
    // Stage 1: the documents in the best cells of each row, ascending; more cells while there are too few.
    void find_candidates(const QueryArrays& query, const float* scores, const PlaidSettings& settings) {
        const std::int64_t num_cells = index_.codec.num_centroids;
        std::int64_t nprobe = std::min<std::int64_t>(settings.nprobe, num_cells);
        while (true) {
            best_cells(query, scores, int(nprobe));
            DocumentSet found(index_.num_docs);
            for (const DocCells& run : index_.doc_cells)
                for (const std::int32_t cell : cells_) found.add(run.cells, cell, run.first_doc, run.num_docs);
            docids_.resize(std::size_t(found.size()));
            found.list(docids_.data());
            if (settings.wanted != nullptr)
                docids_.erase(std::remove_if(docids_.begin(), docids_.end(),
                                             [&](std::int64_t docid) { return !settings.wanted[docid]; }),
                              docids_.end());
            if (std::int64_t(docids_.size()) >= settings.at_least || nprobe == num_cells) return;
            nprobe = std::min(2 * nprobe, num_cells);
        }
    }

    // The distinct cells among the nprobe best of each row.
    void best_cells(const QueryArrays& query, const float* scores, int nprobe) {
        cells_.resize(std::size_t(query.rows) * nprobe);
        TopCells top(scores, index_.codec.num_centroids, query.rows, query.columns(), nprobe);
        for (int row = 0; row < query.rows; ++row) top.find(row, cells_.data() + std::int64_t(row) * nprobe);
        std::sort(cells_.begin(), cells_.end());
        cells_.erase(std::unique(cells_.begin(), cells_.end()), cells_.end());
    }

    // Stage 2: MaxSim over centroids, without those below the threshold, then with all.
    void interact(const QueryArrays& query, const float* scores, const PlaidSettings& settings, int num_threads) {
        const std::int64_t num_cells = index_.codec.num_centroids;
        const int columns = query.columns();
        std::uint8_t* table = table_.of(std::size_t(num_cells) * columns);
        float lo, step;
        score_table(scores, num_cells, query.rows, columns, num_threads, table, &lo, &step);
        if (settings.threshold) {
            std::uint8_t* good = good_table_.of(std::size_t(num_cells) * columns);
            for (std::int64_t c = 0; c < num_cells; ++c) {
                const float* of_rows = scores + c * columns;
                int reached = 0;  // no bool, with which compilers make no vectors of the loop
                for (int i = 0; i < query.rows; ++i) reached |= of_rows[i] / query.weights[i] >= *settings.threshold;
                for (int i = 0; i < columns; ++i) good[c * columns + i] = reached ? table[c * columns + i] : 0;
            }
            keep_best({good, query.rows, columns}, std::max(settings.ndocs, settings.at_least), num_threads);
        }
        keep_best({table, query.rows, columns}, std::max(settings.ndocs / 4, settings.at_least), num_threads);
    }

    // The best documents by a table of bytes, ascending; of equal sums the first in the index.
    void keep_best(const CentroidTable& table, std::int64_t count, int num_threads) {
        if (std::int64_t(docids_.size()) <= count) return;
        const Documents documents = places_.find(index_, &IndexSegment<Code>::distinct, docids_.data(),
                                                  std::int64_t(docids_.size()));
        sums_.resize(docids_.size());
        centroid_maxsim(table, doc_codes_.data(), documents, num_threads, sums_.data());
        // Larger sums, then smaller places, as one number.
        keys_.clear();
        for (std::size_t k = 0; k < sums_.size(); ++k)
            keys_.push_back(std::uint64_t(0x7fffffffu - std::uint32_t(sums_[k])) << 32 | std::uint32_t(k));
        std::nth_element(keys_.begin(), keys_.begin() + count, keys_.end());
        std::sort(keys_.begin(), keys_.begin() + count,
                  [](std::uint64_t a, std::uint64_t b) { return std::uint32_t(a) < std::uint32_t(b); });
        for (std::int64_t k = 0; k < count; ++k) docids_[std::size_t(k)] = docids_[std::uint32_t(keys_[std::size_t(k)])];
        docids_.resize(std::size_t(count));
    }

    // Stage 3: the scores of exhaustive search.
    void score(const QueryArrays& query, const float* scores, int num_threads) {
        exact_.resize(docids_.size());
        const Documents documents = places_.find(index_, &IndexSegment<Code>::tokens, docids_.data(),
                                                 std::int64_t(docids_.size()));
        const DocumentScorer<Code> scorer(index_, query, scores);
        scorer.ask_for(documents);
        scorer.score(documents, num_threads, exact_.data());
    }

    const IndexArrays<Code>& index_;
    std::vector<Codes<Code>> doc_codes_;
    Room<float> scores_;
    Room<std::uint8_t> table_, good_table_;
    std::vector<std::int32_t> cells_, sums_;
    std::vector<std::uint64_t> keys_;
    std::vector<std::int64_t> docids_;
    std::vector<float> exact_;
    Places places_;
};

}  // namespace lir
