// Centroids and their cells, for Python.
#pragma once

#include "bind.hpp"
#include "cells.hpp"
#include "centroid_maxsim.hpp"
#include "centroid_scores.hpp"
#include "group_cells.hpp"

namespace bind_cells {

using lir::Array;
using lir::define;

Array<float> centroid_scores(const Array<std::int8_t>& query, const Array<float>& query_scale,
                             const Array<std::int8_t>& centroids, const Array<float>& centroid_scale,
                             int num_threads) {
    const int rows = int(query.shape(0)), columns = (rows + 15) / 16 * 16;
    Array<float> scores({centroids.shape(0), py::ssize_t(columns)});
    float* score_data = scores.mutable_data();
    py::gil_scoped_release release;
    lir::centroid_scores(query.data(), query_scale.data(), rows, int(query.shape(1)), columns, centroids.data(),
                         centroid_scale.data(), centroids.shape(0), num_threads, score_data);
    return scores;
}

py::tuple score_table(const Array<float>& scores, int rows, int num_threads) {
    Array<std::uint8_t> table({scores.shape(0), scores.shape(1)});
    std::uint8_t* table_data = table.mutable_data();
    float lo, step;
    {
        py::gil_scoped_release release;
        lir::score_table(scores.data(), scores.shape(0), rows, int(scores.shape(1)), num_threads, table_data, &lo,
                         &step);
    }
    return py::make_tuple(table, lo, step);
}

Array<std::int32_t> top_cells(const Array<float>& scores, int rows, int p) {
    Array<std::int32_t> cells({rows, p});
    std::int32_t* cell_data = cells.mutable_data();
    py::gil_scoped_release release;
    lir::TopCells top(scores.data(), scores.shape(0), rows, int(scores.shape(1)), p);
    for (int row = 0; row < rows; ++row) top.find(row, cell_data + std::int64_t(row) * p);
    return cells;
}

py::tuple top_cells_in_groups(const Array<std::int8_t>& query, const Array<float>& query_scale,
                              const Array<std::int8_t>& centroids, const Array<float>& centroid_scale,
                              const Array<std::int64_t>& group_offsets, const Array<std::int32_t>& groups, int p) {
    const int rows = int(query.shape(0));
    Array<std::int32_t> cells({rows, p});
    Array<float> scores({rows, p});
    std::int32_t* cell_data = cells.mutable_data();
    float* score_data = scores.mutable_data();
    {
        py::gil_scoped_release release;
        lir::top_cells_in_groups(
            lir::QueryRows{query.data(), query_scale.data(), rows, int(query.shape(1))},
            lir::CentroidGroups{reinterpret_cast<const std::uint8_t*>(centroids.data()), centroid_scale.data(),
                                centroids.shape(0), group_offsets.data(), group_offsets.size() - 1},
            groups.data(), int(groups.shape(1)), p, cell_data, score_data);
    }
    return py::make_tuple(cells, scores);
}

Array<std::int64_t> candidates(const Array<std::int32_t>& cells, const Array<std::int64_t>& cell_offsets,
                               const Array<std::int32_t>& cell_docs, std::int64_t num_docs) {
    lir::DocumentSet found(num_docs);
    std::int64_t size;
    {
        py::gil_scoped_release release;
        const lir::Cells all{cell_offsets.data(), cell_offsets.size() - 1, cell_docs.data(), cell_docs.size()};
        for (py::ssize_t k = 0; k < cells.size(); ++k) found.add(all, cells.data()[k], 0, num_docs);
        size = found.size();
    }
    Array<std::int64_t> docs(size);
    found.list(docs.mutable_data());
    return docs;
}

template <typename Code>
Array<std::int32_t> centroid_maxsim(const Array<std::uint8_t>& table, int rows, const Array<Code>& doc_codes,
                                    const Array<std::int64_t>& starts, const Array<std::int64_t>& ends,
                                    int num_threads) {
    Array<std::int32_t> scores(starts.size());
    std::int32_t* score_data = scores.mutable_data();
    py::gil_scoped_release release;
    const lir::Codes<Code> codes{doc_codes.data(), table.shape(0)};
    lir::centroid_maxsim(lir::CentroidTable{table.data(), rows, int(table.shape(1))}, &codes,
                         lir::Documents{starts.data(), ends.data(), starts.size()}, num_threads, score_data);
    return scores;
}

template <typename Code>
void define_for_codes(py::module_& m) {
    define(m, "centroid_maxsim", &centroid_maxsim<Code>, "table", "n", "doc_codes", "starts", "ends", "num_threads");
}

inline void define_all(py::module_& m) {
    define(m, "centroid_scores", &centroid_scores, "query", "query_scale", "centroids", "centroid_scale",
           "num_threads");
    define(m, "score_table", &score_table, "scores", "n", "num_threads");
    define(m, "top_cells", &top_cells, "scores", "n", "p");
    define(m, "top_cells_in_groups", &top_cells_in_groups, "query", "query_scale", "centroids", "centroid_scale",
           "group_offsets", "groups", "p");
    define(m, "candidates", &candidates, "cells", "cell_offsets", "cell_docs", "num_docs");
    define_for_codes<std::uint16_t>(m);
    define_for_codes<std::int32_t>(m);
}

}  // namespace bind_cells
