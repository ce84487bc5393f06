// Triples (query row, document, score) to scores of documents: the best of each row and document, summed over rows.
#pragma once

#include <algorithm>
#include <cstdint>
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

// The sums of neighbouring documents, of which the first has the number `first`; rows come one after the other.
class WindowSums {
   public:
    WindowSums(std::int64_t num_docs, float base)
        : size_((std::min(num_docs, kWindow) + kLanes - 1) / kLanes * kLanes),
          base_(base),
          best_(std::size_t(size_)),
          total_(std::size_t(size_)),
          seen_(std::size_t(size_)) {
        std::fill_n(best_.data(), size_, kNothing);
        std::fill_n(total_.data(), size_, base_);
    }

    // Triples of one row, whose documents lie in the window.
    void add_row(const std::int32_t* docs, const float* scores, std::int64_t count, std::int64_t first,
                 float imputed) {
        float* best = best_.data() - first;
        for (std::int64_t e = 0; e < count; ++e) best[docs[e]] = scores[e] > best[docs[e]] ? scores[e] : best[docs[e]];
        if (count * kLanes < size_)
            for (std::int64_t e = 0; e < count; ++e) add_best(docs[e] - first, imputed);
        else
            for (std::int64_t place = 0; place < size_; place += kLanes) add_all_best(place, splat(imputed));
    }

    // Appends the window's documents, ascending, and makes it ready for another one.
    void finish(std::int64_t first, Scored& found) {
        for (std::int64_t place = 0; place < size_; place += kLanes) {
            for (unsigned seen = lane_bits(load(seen_.data() + place)); seen != 0; seen &= seen - 1) {
                const std::int64_t doc = place + __builtin_ctz(seen);
                found.docs.push_back(first + doc);
                found.scores.push_back(total_.data()[doc]);
                total_.data()[doc] = base_;
                seen_.data()[doc] = 0;
            }
        }
    }

   private:
    static constexpr float kNothing = -std::numeric_limits<float>::infinity();

    void add_best(std::int64_t place, float imputed) {
        float& best = best_.data()[place];
        if (best == kNothing) return;  // another triple of the document was here
        total_.data()[place] += best - imputed;
        seen_.data()[place] = -1;
        best = kNothing;
    }

    void add_all_best(std::int64_t place, vfloat imputed) {
        const vfloat best = load(best_.data() + place), total = load(total_.data() + place);
        const vint found = best > splat(kNothing);
        store(total_.data() + place, found ? total + (best - imputed) : total);
        store(seen_.data() + place, load(seen_.data() + place) | found);
        store(best_.data() + place, splat(kNothing));
    }

    std::int64_t size_;
    float base_;
    Buffer<float> best_, total_;
    Buffer<std::int32_t> seen_;  // all bits set or none
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

    void add(std::int64_t window, const float* imputed, WindowSums& sums) const {
        for (int i = 0; i < rows_; ++i) {
            const std::size_t run = std::size_t(window * rows_ + i);
            sums.add_row(docs_.data() + borders_[run], scores_.data() + borders_[run], borders_[run + 1] - borders_[run],
                         window * kWindow, imputed[i]);
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

// For every document of a triple, ascending: the sum of all that is imputed, then for each of its rows, in order, what
// its best score is more than imputed[row].
inline Scored score_triples(const Triples& triples, const float* imputed, std::int64_t num_docs, int num_threads) {
    check_docs(triples, num_docs);
    float base = 0;
    for (int i = 0; i < triples.rows; ++i) base += imputed[i];
    const std::int64_t windows = (num_docs + kWindow - 1) / kWindow;
    Scored found;
    if (windows <= 1) {
        WindowSums sums(num_docs, base);
        found.reserve(std::min(num_docs, triples.size()));
        for (int i = 0; i < triples.rows; ++i)
            sums.add_row(triples.docs + triples.row_offsets[i], triples.scores + triples.row_offsets[i],
                         triples.row_offsets[i + 1] - triples.row_offsets[i], 0, imputed[i]);
        sums.finish(0, found);
        return found;
    }
    const WindowTriples sorted(triples, windows);
    num_threads = int(std::min<std::int64_t>(num_threads, windows));
    // Neighbouring windows for each thread, so that the documents come out in order.
    const auto first_window = [&](std::int64_t part) { return windows * part / num_threads; };
    std::vector<Scored> parts(static_cast<std::size_t>(num_threads));
    std::vector<std::unique_ptr<WindowSums>> workers;
    for (int part = 0; part < num_threads; ++part) {
        const std::int64_t count = sorted.before(first_window(part + 1)) - sorted.before(first_window(part));
        parts[std::size_t(part)].reserve(std::min(count, num_docs));
        workers.push_back(std::make_unique<WindowSums>(num_docs, base));
    }
    parallel_for(num_threads, num_threads, [&](int, std::int64_t part) {
        WindowSums& sums = *workers[std::size_t(part)];
        for (std::int64_t w = first_window(part); w < first_window(part + 1); ++w) {
            sorted.add(w, imputed, sums);
            sums.finish(w * kWindow, parts[std::size_t(part)]);
        }
    });
    for (const Scored& part : parts) {
        found.docs.insert(found.docs.end(), part.docs.begin(), part.docs.end());
        found.scores.insert(found.scores.end(), part.scores.begin(), part.scores.end());
    }
    return found;
}

}  // namespace lir
