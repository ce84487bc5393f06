// An opened index and its searches, for Python.
#pragma once

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "bind.hpp"
#include "bind_queries.hpp"
#include "exhaustive.hpp"
#include "index.hpp"
#include "plaid.hpp"

namespace bind_index {

using bind_queries::data_or_null;
using bind_queries::for_each_query;
using bind_queries::Kept;
using bind_queries::Pool;
using bind_queries::Queries;
using bind_queries::Results;
using lir::Array;

template <typename Code>
class Index {
   public:
    Index(std::int64_t num_docs, int nbits, const Array<std::int8_t>& centroids, const Array<float>& centroid_scale,
          const std::optional<Array<std::uint8_t>>& level_table, const std::optional<Array<float>>& inv_norm_table)
        : inv_norm_table_(data_or_null(inv_norm_table)) {
        kept_.add(centroids, centroid_scale, level_table, inv_norm_table);
        arrays_.num_docs = num_docs;
        arrays_.codec = {int(centroids.shape(1)), nbits,           centroids.data(), centroid_scale.data(),
                         centroids.shape(0),      data_or_null(level_table)};
    }

    void add_segment(std::int64_t first_doc, const Array<std::int64_t>& offsets, const Array<Code>& codes,
                     const Array<std::uint8_t>& packed, const std::optional<Array<std::uint8_t>>& inv_norm,
                     const Array<std::int64_t>& code_offsets, const Array<Code>& doc_codes,
                     const std::optional<Array<std::uint16_t>>& vectors) {
        kept_.add(offsets, codes, packed, inv_norm, code_offsets, doc_codes, vectors);
        const std::int64_t num_centroids = arrays_.codec.num_centroids;
        arrays_.segments.push_back(
            {first_doc,
             offsets.size() - 1,
             {offsets.data(), codes.size()},
             {code_offsets.data(), doc_codes.size()},
             {doc_codes.data(), num_centroids},
             {{codes.data(), num_centroids}, nullptr, 0, packed.data(), packed.data() + packed.size(),
              data_or_null(inv_norm), inv_norm_table_},
             data_or_null(vectors)});
    }

    void add_doc_cells(std::int64_t first_doc, std::int64_t num_docs, const Array<std::int64_t>& offsets,
                       const Array<std::int32_t>& docs) {
        kept_.add(offsets, docs);
        arrays_.doc_cells.push_back(
            {first_doc, num_docs, {offsets.data(), offsets.size() - 1, docs.data(), docs.size()}});
    }

    py::tuple plaid(const Queries& queries, int nprobe, std::int64_t ndocs, std::optional<float> threshold,
                    std::int64_t at_least, std::int64_t num_results, const std::optional<Array<bool>>& wanted,
                    int num_threads) {
        const lir::PlaidSettings settings{nprobe,   ndocs,       threshold,
                                          at_least, num_results, data_or_null(wanted)};
        using Searcher = lir::PlaidSearcher<Code>;
        const auto found = for_each_query<lir::PlaidResult>(
            queries, num_threads, plaid_, [&] { return std::make_unique<Searcher>(arrays_); },
            [&](Searcher& searcher, std::int64_t, const lir::QueryArrays& query, int threads) {
                return searcher.search(query, settings, threads);
            });
        Results results;
        for (const lir::PlaidResult& one : found)
            results.add(one.docids, one.scores,
                        {double(one.candidates), double(one.scored), one.milliseconds[0], one.milliseconds[1],
                         one.milliseconds[2]});
        return results.arrays();
    }

    py::tuple exhaustive(const Queries& queries, std::int64_t num_results, const std::optional<Array<bool>>& wanted,
                         int num_threads) const {
        // Queries go through the index together, as many as have room for their scores of centroids: in a gigabyte.
        constexpr std::int64_t kMost = 64, kScores = std::int64_t(1) << 28;
        std::int64_t longest = 1;
        for (std::int64_t q = 0; q < queries.size(); ++q) longest = std::max<std::int64_t>(longest, queries[q].columns());
        const std::int64_t each = std::max<std::int64_t>(longest * arrays_.codec.num_centroids, 1);
        const std::int64_t group_size = std::clamp<std::int64_t>(kScores / each, 1, kMost);
        std::vector<lir::Best> best;
        {
            py::gil_scoped_release release;
            for (std::int64_t first = 0; first < queries.size(); first += group_size) {
                std::vector<lir::QueryArrays> group;
                for (std::int64_t q = first; q < std::min(queries.size(), first + group_size); ++q)
                    group.push_back(queries[q]);
                for (lir::Best& one : lir::exhaustive(arrays_, group, num_results, data_or_null(wanted), num_threads,
                                                      bind_queries::check_interrupt))
                    best.push_back(std::move(one));
            }
        }
        Results results;
        for (const lir::Best& one : best) results.add(one.docids, one.scores, {});
        return results.arrays();
    }

    // scores[k] of document docids[k] with the query to which it belongs: pair_offsets[q] .. pair_offsets[q + 1].
    Array<float> score(const Queries& queries, const Array<std::int64_t>& pair_offsets,
                       const Array<std::int64_t>& docids, int num_threads) {
        Array<float> scores(docids.size());
        float* score_data = scores.mutable_data();
        if (arrays_.segments.empty()) {
            std::fill_n(score_data, docids.size(), -std::numeric_limits<float>::infinity());
            return scores;
        }
        for_each_query<char>(
            queries, num_threads, scorers_, [&] { return std::make_unique<Scorer>(); },
            [&](Scorer& memory, std::int64_t q, const lir::QueryArrays& query, int threads) {
                const std::int64_t first = pair_offsets.data()[q], size = pair_offsets.data()[q + 1] - first;
                const lir::Documents documents =
                    memory.places.find(arrays_, &lir::IndexSegment<Code>::tokens, docids.data() + first, size);
                const float* of_centroids =
                    arrays_.keeps_vectors() ? nullptr
                                            : lir::score_centroids(arrays_.codec, query, threads, memory.room);
                const lir::DocumentScorer<Code> scorer(arrays_, query, of_centroids);
                scorer.ask_for(documents);
                scorer.score(documents, threads, score_data + first);
                return char{};
            });
        return scores;
    }

   private:
    // What scoring documents that are named keeps from query to query.
    struct Scorer {
        lir::Places places;
        lir::Room<float> room;
    };

    lir::IndexArrays<Code> arrays_;
    const float* inv_norm_table_;
    Kept kept_;
    Pool<lir::PlaidSearcher<Code>> plaid_;
    Pool<Scorer> scorers_;
};

template <typename Code>
void define_for_codes(py::module_& m, const char* name) {
    using Of = Index<Code>;
    py::class_<Of>(m, name, py::module_local())
        .def(py::init<std::int64_t, int, const Array<std::int8_t>&, const Array<float>&,
                      const std::optional<Array<std::uint8_t>>&, const std::optional<Array<float>>&>(),
             py::arg("num_docs"), py::arg("nbits"), py::arg("centroids").noconvert(),
             py::arg("centroid_scale").noconvert(), py::arg("level_table").noconvert(),
             py::arg("inv_norm_table").noconvert())
        .def("add_segment", &Of::add_segment, py::arg("first_doc"), py::arg("offsets").noconvert(),
             py::arg("codes").noconvert(), py::arg("packed").noconvert(), py::arg("inv_norm").noconvert(),
             py::arg("code_offsets").noconvert(), py::arg("doc_codes").noconvert(), py::arg("vectors").noconvert())
        .def("add_doc_cells", &Of::add_doc_cells, py::arg("first_doc"), py::arg("num_docs"),
             py::arg("offsets").noconvert(), py::arg("docs").noconvert())
        .def("plaid", &Of::plaid, py::arg("queries"), py::arg("nprobe"), py::arg("ndocs"), py::arg("threshold"),
             py::arg("at_least"), py::arg("num_results"), py::arg("wanted").noconvert(), py::arg("num_threads"))
        .def("exhaustive", &Of::exhaustive, py::arg("queries"), py::arg("num_results"), py::arg("wanted").noconvert(),
             py::arg("num_threads"))
        .def("score", &Of::score, py::arg("queries"), py::arg("pair_offsets").noconvert(),
             py::arg("docids").noconvert(), py::arg("num_threads"));
}

inline void define_all(py::module_& m) {
    define_for_codes<std::uint16_t>(m, "Index16");
    define_for_codes<std::int32_t>(m, "Index32");
}

}  // namespace bind_index
