// An index as WARP reads it, and its search, for Python.
#pragma once

#include <memory>
#include <vector>

#include "bind.hpp"
#include "bind_queries.hpp"
#include "warp.hpp"

namespace bind_warp {

using bind_queries::data_or_null;
using bind_queries::Queries;
using lir::Array;

class CellIndex {
   public:
    CellIndex(int nbits, const Array<std::int8_t>& centroids, const Array<float>& centroid_scale,
              const std::optional<Array<std::uint8_t>>& level_table, const Array<std::int8_t>& coarse,
              const Array<float>& coarse_scale, const Array<std::int64_t>& group_offsets,
              const Array<std::int64_t>& sizes) {
        kept_.add(centroids, centroid_scale, level_table, coarse, coarse_scale, group_offsets, sizes);
        arrays_.codec = {int(centroids.shape(1)), nbits,           centroids.data(), centroid_scale.data(),
                         centroids.shape(0),      data_or_null(level_table)};
        arrays_.groups = {reinterpret_cast<const std::uint8_t*>(centroids.data()), centroid_scale.data(),
                          centroids.shape(0), group_offsets.data(), group_offsets.size() - 1};
        arrays_.coarse = coarse.data();
        arrays_.coarse_scale = coarse_scale.data();
        arrays_.sizes = sizes.data();
    }

    void add_part(std::int64_t first_doc, std::int64_t num_docs, const Array<std::int64_t>& offsets,
                  const Array<std::int32_t>& docs, const Array<std::uint8_t>& blocks) {
        kept_.add(offsets, docs, blocks);
        const int nbits = arrays_.codec.nbits;
        arrays_.parts.push_back({first_doc,
                                 num_docs,
                                 {{offsets.data(), offsets.size() - 1, docs.data(), docs.size()},
                                  blocks.data(),
                                  nullptr,
                                  nullptr,
                                  nbits,
                                  {arrays_.codec.level_table, nbits}}});
    }

    py::tuple warp(const Queries& queries, std::int64_t nprobe, std::int64_t t_prime, std::int64_t bound,
                   std::int64_t groups, std::int64_t at_least, std::int64_t num_results,
                   const std::optional<Array<bool>>& wanted, int num_threads) {
        const lir::WarpSettings settings{nprobe, t_prime, bound, groups, at_least, num_results, data_or_null(wanted)};
        const auto found = bind_queries::for_each_query<lir::WarpResult>(
            queries, num_threads, searchers_, [&] { return std::make_unique<lir::WarpSearcher>(arrays_); },
            [&](lir::WarpSearcher& searcher, std::int64_t, const lir::QueryArrays& query, int threads) {
                return searcher.search(query, settings, threads);
            });
        bind_queries::Results results;
        for (const lir::WarpResult& one : found)
            results.add(one.docids, one.scores,
                        {double(one.tokens), double(one.documents), one.milliseconds[0], one.milliseconds[1],
                         one.milliseconds[2]});
        return results.arrays();
    }

   private:
    lir::CellArrays arrays_;
    bind_queries::Kept kept_;
    bind_queries::Pool<lir::WarpSearcher> searchers_;
};

inline void define_all(py::module_& m) {
    py::class_<CellIndex>(m, "CellIndex", py::module_local())
        .def(py::init<int, const Array<std::int8_t>&, const Array<float>&, const std::optional<Array<std::uint8_t>>&,
                      const Array<std::int8_t>&, const Array<float>&, const Array<std::int64_t>&,
                      const Array<std::int64_t>&>(),
             py::arg("nbits"), py::arg("centroids").noconvert(), py::arg("centroid_scale").noconvert(),
             py::arg("level_table").noconvert(), py::arg("coarse").noconvert(), py::arg("coarse_scale").noconvert(),
             py::arg("group_offsets").noconvert(), py::arg("sizes").noconvert())
        .def("add_part", &CellIndex::add_part, py::arg("first_doc"), py::arg("num_docs"),
             py::arg("offsets").noconvert(), py::arg("docs").noconvert(), py::arg("blocks").noconvert())
        .def("warp", &CellIndex::warp, py::arg("queries"), py::arg("nprobe"), py::arg("t_prime"), py::arg("bound"),
             py::arg("groups"), py::arg("at_least"), py::arg("num_results"), py::arg("wanted").noconvert(),
             py::arg("num_threads"));
}

}  // namespace bind_warp
