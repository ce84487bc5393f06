// WARP for one query: which cells, their tokens scored where they lie, documents made of them, over all parts.
//
// The same as the steps of retrieve/warp.py, which are this one's specification, in one call.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <vector>

#include "cells.hpp"
#include "centroid_scores.hpp"
#include "group_cells.hpp"
#include "index.hpp"
#include "memory.hpp"
#include "scan_cells.hpp"
#include "score_triples.hpp"
#include "top_k.hpp"

namespace lir {

// The tokens of neighbouring documents cell after cell.
struct CellPart {
    std::int64_t first_doc, num_docs;
    CellTokens tokens;
};

// What WARP reads: the centroids, also in coarse groups, how many tokens each has, and the tokens.
struct CellArrays {
    IndexCodec codec;
    CentroidGroups groups;
    const std::int8_t* coarse;
    const float* coarse_scale;
    const std::int64_t* sizes;
    std::vector<CellPart> parts;
};

struct WarpSettings {
    std::int64_t nprobe, t_prime, bound;
    std::int64_t groups;    // 0 for all
    std::int64_t at_least;  // documents, where there are so many
    std::int64_t num_results;
    const bool* wanted;  // which documents are searched; null for all
};

struct WarpResult {
    std::vector<std::int64_t> docids;  // best first
    std::vector<float> scores;
    std::int64_t tokens = 0, documents = 0;
    double milliseconds[3] = {};  // of each step
};

// Searches query after query, in memory that it keeps.
class WarpSearcher {
   public:
    explicit WarpSearcher(const CellArrays& index) : index_(index) {
        for (std::int64_t c = 0; c < index.codec.num_centroids; ++c) num_tokens_ += index.sizes[c];
    }

    WarpResult search(const QueryArrays& query, const WarpSettings& settings, int num_threads) {
        using Clock = std::chrono::steady_clock;
        const std::int64_t num_cells = index_.codec.num_centroids;
        std::int64_t nprobe = std::min(settings.nprobe, num_cells), groups = settings.groups;
        scored_ = false;
        while (true) {
            WarpResult result;
            const auto begin = Clock::now();
            select(query, settings, nprobe, groups, num_threads);
            const auto selected = Clock::now();
            scan(query, nprobe, num_threads);
            const auto scanned = Clock::now();
            reduce(query, settings, num_threads, result);
            const auto documents = std::int64_t(found_.docs.size());
            if (documents < settings.at_least && nprobe < num_cells) {
                nprobe = std::min(2 * nprobe, num_cells), groups *= 2;
                continue;
            }
            for (const std::int64_t place : top_k(found_.scores.data(), documents, settings.num_results)) {
                result.docids.push_back(found_.docs[std::size_t(place)]);
                result.scores.push_back(found_.scores[std::size_t(place)]);
            }
            result.documents = documents;
            const Clock::time_point times[] = {begin, selected, scanned, Clock::now()};
            for (int i = 0; i < 3; ++i)
                result.milliseconds[i] = std::chrono::duration<double, std::milli>(times[i + 1] - times[i]).count();
            return result;
        }
    }

   private:
    // What was scanned of one part.
    struct Scanned {
        std::vector<std::int64_t> row_offsets, starts;
        Room<std::int32_t> docs;
        Room<float> scores;
        const std::int32_t* doc_data = nullptr;
        const float* score_data = nullptr;
    };

    // WARP-SELECT: the cells to probe, the scores of their centroids, and what to impute.
    void select(const QueryArrays& query, const WarpSettings& settings, std::int64_t nprobe, std::int64_t groups,
                int num_threads) {
        const std::int64_t num_cells = index_.codec.num_centroids;
        const std::int64_t bound = std::min(std::max(settings.bound, nprobe), num_cells);
        // A quarter more cells than t' takes on average, and all that are allowed if those are too few.
        const double average = 1.25 * double(settings.t_prime) * double(num_cells) / double(num_tokens_);
        auto count = std::int64_t(std::min(std::max(average, double(nprobe)), double(bound)));
        while (true) {
            best_cells(query, count, groups, num_threads);
            if (impute(query, settings.t_prime, count) || count == bound) break;
            count = bound;
        }
        // The first `nprobe` of each row, side by side.
        for (int row = 1; row < query.rows; ++row) {
            std::copy_n(cells_.begin() + row * count, nprobe, cells_.begin() + row * nprobe);
            std::copy_n(cell_scores_.begin() + row * count, nprobe, cell_scores_.begin() + row * nprobe);
        }
    }

    // The score at which each row's cells reach t' tokens, of the last one where they do not; whether all rows do.
    bool impute(const QueryArrays& query, std::int64_t t_prime, std::int64_t count) {
        bool all = true;
        imputed_.clear();
        for (int row = 0; row < query.rows; ++row) {
            std::int64_t reached = 0, k = row * count;
            for (; k < (row + 1) * count && reached < t_prime; ++k) reached += index_.sizes[cells_[std::size_t(k)]];
            all = all && reached >= t_prime;
            imputed_.push_back(cell_scores_[std::size_t(k - 1)]);
        }
        return all;
    }

    // The `count` best cells of each row and their scores, of all or of each row's best coarse groups.
    void best_cells(const QueryArrays& query, std::int64_t count, std::int64_t groups, int num_threads) {
        cells_.resize(std::size_t(query.rows * count));
        cell_scores_.resize(cells_.size());
        if (groups > 0 && groups < index_.groups.num_groups) return best_in_groups(query, count, groups, num_threads);
        if (!scored_) scores_ = score_centroids(index_.codec, query, num_threads, score_room_);
        scored_ = true;
        TopCells top(scores_, index_.codec.num_centroids, query.rows, query.columns(), int(count));
        for (int row = 0; row < query.rows; ++row) {
            top.find(row, cells_.data() + row * count);
            for (std::int64_t k = row * count; k < (row + 1) * count; ++k)
                cell_scores_[std::size_t(k)] =
                    scores_[std::int64_t(cells_[std::size_t(k)]) * query.columns() + row];
        }
    }

    void best_in_groups(const QueryArrays& query, std::int64_t count, std::int64_t groups, int num_threads) {
        const std::int64_t num_groups = index_.groups.num_groups;
        float* scores = coarse_room_.of(std::size_t(num_groups) * query.columns());
        centroid_scores(query.bytes, query.byte_scale, query.rows, index_.codec.dim, query.columns(), index_.coarse,
                        index_.coarse_scale, num_groups, num_threads, scores);
        while (true) {
            chosen_.resize(std::size_t(query.rows * groups));
            TopCells top(scores, num_groups, query.rows, query.columns(), int(groups));
            std::int64_t fewest = index_.groups.num_centroids;
            for (int row = 0; row < query.rows; ++row) {
                top.find(row, chosen_.data() + row * groups);
                std::int64_t held = 0;
                for (std::int64_t k = row * groups; k < (row + 1) * groups; ++k) {
                    const std::int32_t group = chosen_[std::size_t(k)];
                    held += index_.groups.offsets[group + 1] - index_.groups.offsets[group];
                }
                fewest = std::min(fewest, held);
            }
            if (groups == num_groups || fewest >= count) break;
            groups = std::min(2 * groups, num_groups);
        }
        top_cells_in_groups(QueryRows{query.bytes, query.byte_scale, query.rows, index_.codec.dim}, index_.groups,
                            chosen_.data(), int(groups), int(count), cells_.data(), cell_scores_.data());
    }

    // Scores of all tokens in each row's cells.
    void scan(const QueryArrays& query, std::int64_t nprobe, int num_threads) {
        const auto& codec = index_.codec;
        const PackedRows packed(query.levels, query.rows, codec.dim, codec.nbits, codec.level_table);
        const Probes probes{cells_.data(), cell_scores_.data(), query.rows, int(nprobe)};
        scanned_.resize(index_.parts.size());
        for (std::size_t part = 0; part < index_.parts.size(); ++part) {
            const CellTokens& tokens = index_.parts[part].tokens;
            Scanned& out = scanned_[part];
            out.row_offsets.resize(std::size_t(query.rows) + 1);
            probe_offsets(tokens.cells, probes, out.row_offsets.data(), out.starts);
            const auto size = std::size_t(out.row_offsets.back());
            std::int32_t* docs = out.docs.of(size);
            float* scores = out.scores.of(size);
            scan_cells(tokens, probes, packed, query.level_scale, query.bias, out.starts, num_threads, docs, scores);
            out.doc_data = docs, out.score_data = scores;
        }
    }

    // Documents with a token, ascending, and their scores.
    void reduce(const QueryArrays& query, const WarpSettings& settings, int num_threads, WarpResult& result) {
        found_.docs.clear(), found_.scores.clear();
        for (std::size_t part = 0; part < scanned_.size(); ++part) {
            const Scanned& in = scanned_[part];
            const CellPart& documents = index_.parts[part];
            const Triples triples{in.row_offsets.data(), query.rows, in.doc_data, in.score_data};
            result.tokens += triples.size();
            const Scored found = score_triples(triples, imputed_.data(), documents.num_docs, num_threads);
            for (std::size_t k = 0; k < found.docs.size(); ++k) {
                const std::int64_t docid = documents.first_doc + found.docs[k];
                if (settings.wanted != nullptr && !settings.wanted[docid]) continue;
                found_.docs.push_back(docid);
                found_.scores.push_back(found.scores[k]);
            }
        }
    }

    const CellArrays& index_;
    std::int64_t num_tokens_ = 0;
    Room<float> score_room_, coarse_room_;
    const float* scores_ = nullptr;
    bool scored_ = false;  // whether scores_ is this query's
    std::vector<std::int32_t> cells_, chosen_;
    std::vector<float> cell_scores_, imputed_;
    std::vector<Scanned> scanned_;
    Scored found_;
};

}  // namespace lir
