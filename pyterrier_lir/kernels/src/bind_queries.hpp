// What searches of an opened index share, for Python: the queries of a frame, their results, memory that is kept.
#pragma once

#include <algorithm>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "bind.hpp"
#include "index.hpp"
#include "parallel.hpp"

namespace bind_queries {

using lir::Array;

template <typename T>
py::object as_object(const Array<T>& array) {
    return array;
}

template <typename T>
py::object as_object(const std::optional<Array<T>>& array) {
    return array ? py::object(*array) : py::none();
}

template <typename T>
const T* data_or_null(const std::optional<Array<T>>& array) {
    return array ? array->data() : nullptr;
}

// Arrays that must live as long as those who point into them.
class Kept {
   public:
    template <typename... Arrays>
    void add(const Arrays&... arrays) {
        (objects_.push_back(as_object(arrays)), ...);
    }

   private:
    std::vector<py::object> objects_;
};

// The arrays of a query for each of a frame, one behind the other: rows row_offsets[q] .. row_offsets[q + 1] are the
// q-th query's.
struct Queries {
    Array<std::int64_t> row_offsets;
    Array<float> embs, weights;
    Array<std::int8_t> bytes;
    Array<float> byte_scale;
    Array<std::int8_t> levels;
    Array<float> level_scale, bias;

    std::int64_t size() const { return row_offsets.size() - 1; }

    lir::QueryArrays operator[](std::int64_t q) const {
        const std::int64_t first = row_offsets.data()[q], dim = embs.shape(1);
        return {int(row_offsets.data()[q + 1] - first), embs.data() + first * dim,     weights.data() + first,
                bytes.data() + first * dim,             byte_scale.data() + first,     levels.data() + first * dim,
                level_scale.data() + first,             bias.data() + first};
    }
};

// Results of several queries, one behind the other.
class Results {
   public:
    void add(const std::vector<std::int64_t>& docids, const std::vector<float>& scores,
             const std::vector<double>& stats) {
        docids_.insert(docids_.end(), docids.begin(), docids.end());
        scores_.insert(scores_.end(), scores.begin(), scores.end());
        offsets_.push_back(std::int64_t(docids_.size()));
        stats_.insert(stats_.end(), stats.begin(), stats.end());
        width_ = stats.size();
    }

    py::tuple arrays() const {
        const auto width = py::ssize_t(width_), queries = py::ssize_t(offsets_.size()) - 1;
        return py::make_tuple(Array<std::int64_t>(py::ssize_t(offsets_.size()), offsets_.data()),
                              Array<std::int64_t>(py::ssize_t(docids_.size()), docids_.data()),
                              Array<float>(py::ssize_t(scores_.size()), scores_.data()),
                              Array<double>({queries, width}, stats_.data()));
    }

   private:
    std::vector<std::int64_t> offsets_ = {0}, docids_;
    std::vector<float> scores_;
    std::vector<double> stats_;
    std::size_t width_ = 0;
};

// Searchers that wait for work; each is one thread's at a time.
template <typename Searcher>
class Pool {
   public:
    template <typename Make>
    std::unique_ptr<Searcher> take(const Make& make) {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (idle_.empty()) return make();
        std::unique_ptr<Searcher> searcher = std::move(idle_.back());
        idle_.pop_back();
        return searcher;
    }

    void give(std::unique_ptr<Searcher> searcher) {
        const std::lock_guard<std::mutex> lock(mutex_);
        idle_.push_back(std::move(searcher));
    }

   private:
    std::mutex mutex_;
    std::vector<std::unique_ptr<Searcher>> idle_;
};

// Lets Python end long work: throws what an interrupt raises. Only on the thread that Python called, without the GIL.
inline void check_interrupt() {
    py::gil_scoped_acquire acquire;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

// One query uses all threads; of several, each uses one.
template <typename Result, typename Searcher, typename Make, typename Search>
std::vector<Result> for_each_query(const Queries& queries, int num_threads, Pool<Searcher>& pool, const Make& make,
                                   const Search& search) {
    py::gil_scoped_release release;
    std::vector<Result> results(std::size_t(queries.size()));
    const int outer = int(std::min<std::int64_t>(num_threads, std::max<std::int64_t>(queries.size(), 1)));
    lir::parallel_for(outer, queries.size(), [&](int worker, std::int64_t q) {
        if (worker == 0) check_interrupt();
        std::unique_ptr<Searcher> searcher = pool.take(make);
        results[std::size_t(q)] = search(*searcher, q, queries[q], outer > 1 ? 1 : num_threads);
        pool.give(std::move(searcher));
    });
    return results;
}

inline void define_all(py::module_& m) {
    py::class_<Queries>(m, "Queries", py::module_local())
        .def(py::init([](Array<std::int64_t> row_offsets, Array<float> embs, Array<float> weights,
                         Array<std::int8_t> bytes, Array<float> byte_scale, Array<std::int8_t> levels,
                         Array<float> level_scale, Array<float> bias) {
                 return Queries{std::move(row_offsets), std::move(embs),   std::move(weights),     std::move(bytes),
                                std::move(byte_scale),  std::move(levels), std::move(level_scale), std::move(bias)};
             }),
             py::arg("row_offsets").noconvert(), py::arg("embs").noconvert(), py::arg("weights").noconvert(),
             py::arg("bytes").noconvert(), py::arg("byte_scale").noconvert(), py::arg("levels").noconvert(),
             py::arg("level_scale").noconvert(), py::arg("bias").noconvert());
}

}  // namespace bind_queries
