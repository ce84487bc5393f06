// Triples (query row, document, score) to scores of documents: the best of each row and document, summed over rows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "memory.hpp"
#include "parallel.hpp"
#include "vec.hpp"

namespace lir {

// Documents are scored a window at a time, whose sums stay in the second cache.
constexpr int kWindowBits = 15;
constexpr std::int64_t kWindow = std::int64_t(1) << kWindowBits;

// Triples of the rows 0, 1, ...: row i has those from row_offsets[i] to row_offsets[i + 1].
struct Triples {
    const std::int64_t* row_offsets;
    int rows;
    const std::int32_t* docs;
    const float* scores;

    std::int64_t size() const { return row_offsets[rows]; }
};

struct Scored {
    std::vector<std::int64_t> docs;
    std::vector<float> scores;

    void reserve(std::int64_t size) {
        docs.reserve(std::size_t(size));
        scores.reserve(std::size_t(size));
    }
};

// The triples of one row in a window.
struct RowTriples {
    const std::int32_t* docs;
    const float* scores;
    std::int64_t size;
    float imputed;
};

// The sums of neighbouring documents. Those that have a triple get places, so that rows are summed without gaps.
class WindowSums {
   public:
    explicit WindowSums(std::int64_t num_docs)
        : size_(std::min(num_docs, kWindow)),
          touched_(std::size_t(size_ + 8)),
          place_(std::size_t(size_ + 8)),
          best_(std::size_t(size_ + kLanes)),
          total_(std::size_t(size_ + kLanes)) {
        docs_.reserve(std::size_t(size_ + 8));
        std::fill_n(best_.data(), size_ + kLanes, kNothing);
    }

    // Appends the documents of a window whose first document is `first`, ascending, and their sums.
    void score(const std::vector<RowTriples>& rows, std::int64_t first, Scored& found) {
        find_places(rows, first);
        std::fill_n(total_.data(), docs_.size(), 0.0f);
        for (const RowTriples& row : rows) add_row(row, first);
        for (std::size_t k = 0; k < docs_.size(); ++k) {
            found.docs.push_back(first + docs_[k]);
            found.scores.push_back(total_.data()[k]);
        }
    }

   private:
    static constexpr float kNothing = -std::numeric_limits<float>::infinity();

    void find_places(const std::vector<RowTriples>& rows, std::int64_t first) {
        for (const RowTriples& row : rows)
            for (std::int64_t e = 0; e < row.size; ++e) touched_.data()[row.docs[e] - first] = 1;
        docs_.clear();
        for (std::int64_t first_of_eight = 0; first_of_eight < size_; first_of_eight += 8) {
            std::uint64_t eight;
            std::memcpy(&eight, touched_.data() + first_of_eight, sizeof eight);
            if (eight == 0) continue;  // most, where documents are many
            for (std::int64_t doc = first_of_eight; doc < first_of_eight + 8; ++doc) {
                if (touched_.data()[doc] == 0) continue;
                place_.data()[doc] = std::int32_t(docs_.size());
                docs_.push_back(std::int32_t(doc));
                touched_.data()[doc] = 0;
            }
        }
    }

    // The best of the row's triples of each document, or what is imputed.
    void add_row(const RowTriples& row, std::int64_t first) {
        for (std::int64_t e = 0; e < row.size; ++e) {
            float& best = best_.data()[place_.data()[row.docs[e] - first]];
            best = row.scores[e] > best ? row.scores[e] : best;
        }
        for (std::size_t k = 0; k < docs_.size(); k += kLanes) {
            const vfloat best = load(best_.data() + k);
            const vfloat score = best > splat(kNothing) ? best : splat(row.imputed);
            store(total_.data() + k, load(total_.data() + k) + score);
            store(best_.data() + k, splat(kNothing));
        }
    }

    std::int64_t size_;
    Buffer<std::uint8_t> touched_;
    Buffer<std::int32_t> place_;
    Buffer<float> best_, total_;  // by place
    std::vector<std::int32_t> docs_;
};

// The triples sorted by window, each window's in the order of rows.
class WindowTriples {
   public:
    WindowTriples(const Triples& triples, std::int64_t num_windows)
        : borders_(std::size_t(num_windows * triples.rows) + 1, 0),
          rows_(triples.rows),
          docs_(std::size_t(triples.size())),
          scores_(std::size_t(triples.size())) {
        for_all(triples, [&](std::int64_t e, std::size_t run) { ++borders_[run + 1], (void)e; });
        for (std::size_t run = 1; run < borders_.size(); ++run) borders_[run] += borders_[run - 1];
        std::vector<std::int64_t> free(borders_.begin(), borders_.end() - 1);
        for_all(triples, [&](std::int64_t e, std::size_t run) {
            const std::size_t place = std::size_t(free[run]++);
            docs_[place] = triples.docs[e];
            scores_[place] = triples.scores[e];
        });
    }

    std::int64_t before(std::int64_t window) const { return borders_[std::size_t(window * rows_)]; }

    void rows(std::int64_t window, const float* imputed, std::vector<RowTriples>& rows) const {
        rows.clear();
        for (int i = 0; i < rows_; ++i) {
            const std::size_t run = std::size_t(window * rows_ + i);
            const std::int64_t start = borders_[run];
            rows.push_back({docs_.data() + start, scores_.data() + start, borders_[run + 1] - start, imputed[i]});
        }
    }

   private:
    // Calls with every triple and the number of its window and row.
    template <typename Work>
    void for_all(const Triples& triples, const Work& work) const {
        for (int i = 0; i < rows_; ++i)
            for (std::int64_t e = triples.row_offsets[i]; e < triples.row_offsets[i + 1]; ++e)
                work(e, std::size_t(std::int64_t(triples.docs[e] >> kWindowBits) * rows_ + i));
    }

    std::vector<std::int64_t> borders_;  // of each window's rows
    int rows_;
    std::vector<std::int32_t> docs_;
    std::vector<float> scores_;
};

inline void check_docs(const Triples& triples, std::int64_t num_docs) {
    for (std::int64_t e = 0; e < triples.size(); ++e)
        if (triples.docs[e] < 0 || triples.docs[e] >= num_docs)
            throw std::invalid_argument("docs contains " + std::to_string(triples.docs[e]) + ", but there are " +
                                        std::to_string(num_docs) + " documents; are they from another index?");
}

inline Scored score_few_documents(const Triples& triples, const float* imputed, std::int64_t num_docs) {
    std::vector<RowTriples> rows;
    for (int i = 0; i < triples.rows; ++i) {
        const std::int64_t start = triples.row_offsets[i];
        rows.push_back({triples.docs + start, triples.scores + start, triples.row_offsets[i + 1] - start, imputed[i]});
    }
    Scored found;
    found.reserve(std::min(num_docs, triples.size()));
    WindowSums(num_docs).score(rows, 0, found);
    return found;
}

// For every document of a triple, ascending: the sum over rows, in order, of the best score, or of imputed[row].
inline Scored score_triples(const Triples& triples, const float* imputed, std::int64_t num_docs, int num_threads) {
    check_docs(triples, num_docs);
    const std::int64_t windows = (num_docs + kWindow - 1) / kWindow;
    if (windows <= 1) return score_few_documents(triples, imputed, num_docs);
    const WindowTriples sorted(triples, windows);
    num_threads = int(std::min<std::int64_t>(num_threads, windows));
    // Neighbouring windows for each thread, so that the documents come out in order.
    const auto first_window = [&](std::int64_t part) { return windows * part / num_threads; };
    std::vector<Scored> parts(static_cast<std::size_t>(num_threads));
    std::vector<std::unique_ptr<WindowSums>> workers;
    std::vector<std::vector<RowTriples>> rows(parts.size());
    for (std::size_t part = 0; part < parts.size(); ++part) {
        const auto number = std::int64_t(part);
        const std::int64_t count = sorted.before(first_window(number + 1)) - sorted.before(first_window(number));
        parts[part].reserve(std::min(count, num_docs));
        rows[part].reserve(std::size_t(triples.rows));
        workers.push_back(std::make_unique<WindowSums>(num_docs));
    }
    parallel_for(num_threads, num_threads, [&](int, std::int64_t part) {
        for (std::int64_t w = first_window(part); w < first_window(part + 1); ++w) {
            if (sorted.before(w) == sorted.before(w + 1)) continue;
            sorted.rows(w, imputed, rows[std::size_t(part)]);
            workers[std::size_t(part)]->score(rows[std::size_t(part)], w * kWindow, parts[std::size_t(part)]);
        }
    });
    Scored found;
    for (const Scored& part : parts) {
        found.docs.insert(found.docs.end(), part.docs.begin(), part.docs.end());
        found.scores.insert(found.scores.end(), part.scores.begin(), part.scores.end());
    }
    return found;
}

}  // namespace lir
