// The Python module; LIR_MODULE is its name. Arguments are checked in Python (kernels/__init__.py): what arrives
// here has the right types, is C-contiguous, and names no token outside of its array.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <vector>

#include "cells.hpp"
#include "centroid_maxsim.hpp"
#include "centroid_scores.hpp"
#include "encode.hpp"
#include "fde.hpp"
#include "group_cells.hpp"
#include "inner_products.hpp"
#include "maxsim.hpp"
#include "maxsim_codes.hpp"
#include "nearest.hpp"
#include "packed.hpp"
#include "scan_cells.hpp"
#include "score_triples.hpp"
#include "top_k.hpp"
#include "top_tokens.hpp"

namespace py = pybind11;

namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style>;

template <typename Token>
Array<float> maxsim(const Array<float>& query, const Array<Token>& tokens, const Array<std::int64_t>& starts,
                    const Array<std::int64_t>& ends, const std::optional<Array<float>>& weights, int num_threads) {
    Array<float> scores(starts.size());
    const lir::Documents documents{starts.data(), ends.data(), starts.size()};
    const float* query_data = query.data();
    const float* weights_data = weights ? weights->data() : nullptr;
    const Token* token_data = tokens.data();
    float* score_data = scores.mutable_data();
    const int rows = int(query.shape(0)), dim = int(query.shape(1));
    {
        py::gil_scoped_release release;
        lir::maxsim(query_data, rows, dim, weights_data, token_data, documents, num_threads, score_data);
    }
    return scores;
}

template <typename Token>
void define_maxsim(py::module_& m) {
    m.def("maxsim", &maxsim<Token>, py::arg("query").noconvert(), py::arg("tokens").noconvert(),
          py::arg("starts").noconvert(), py::arg("ends").noconvert(), py::arg("weights").noconvert(),
          py::arg("num_threads"));
}

Array<std::uint8_t> pack(const Array<std::uint8_t>& levels, int nbits) {
    const int dim = int(levels.shape(1));
    Array<std::uint8_t> packed({levels.shape(0), py::ssize_t(lir::packed_width(dim, nbits))});
    std::uint8_t* packed_data = packed.mutable_data();
    py::gil_scoped_release release;
    lir::pack(levels.data(), levels.shape(0), dim, nbits, packed_data);
    return packed;
}

Array<std::uint8_t> unpack(const Array<std::uint8_t>& packed, int dim, int nbits) {
    Array<std::uint8_t> levels({packed.shape(0), py::ssize_t(dim)});
    std::uint8_t* level_data = levels.mutable_data();
    py::gil_scoped_release release;
    lir::unpack(packed.data(), packed.shape(0), dim, nbits, level_data);
    return levels;
}

template <typename Number>
py::tuple nearest(const Array<Number>& x, const Array<float>& centroids, int num_threads) {
    Array<std::int32_t> codes(x.shape(0));
    Array<float> scores(x.shape(0));
    std::int32_t* code_data = codes.mutable_data();
    float* score_data = scores.mutable_data();
    {
        py::gil_scoped_release release;
        lir::nearest(x.data(), x.shape(0), int(x.shape(1)), centroids.data(), int(centroids.shape(0)), num_threads,
                     code_data, score_data);
    }
    return py::make_tuple(codes, scores);
}

template <typename Number>
Array<std::int32_t> nearest_groups(const Array<Number>& x, const Array<float>& centroids, int count, int num_threads) {
    Array<std::int32_t> groups({x.shape(0), py::ssize_t(count)});
    std::int32_t* group_data = groups.mutable_data();
    py::gil_scoped_release release;
    lir::nearest_groups(x.data(), x.shape(0), int(x.shape(1)), centroids.data(), int(centroids.shape(0)), count,
                        num_threads, group_data);
    return groups;
}

template <typename Number>
py::tuple encode_residuals(const Array<Number>& x, const Array<float>& centroids, const Array<std::int32_t>& codes,
                           const Array<float>& step, const Array<float>& lo, int nbits, int num_threads) {
    const lir::Levels levels{step.data(), lo.data(), int(x.shape(1)), nbits};
    Array<std::uint8_t> packed({x.shape(0), py::ssize_t(lir::packed_width(levels.dim, nbits))});
    Array<float> norms(x.shape(0));
    std::uint8_t* packed_data = packed.mutable_data();
    float* norm_data = norms.mutable_data();
    {
        py::gil_scoped_release release;
        lir::encode_residuals(x.data(), x.shape(0), centroids.data(),
                              lir::Codes<std::int32_t>{codes.data(), centroids.shape(0)}, levels, num_threads,
                              packed_data, norm_data);
    }
    return py::make_tuple(packed, norms);
}

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

Array<std::int64_t> candidates(const Array<std::int32_t>& cells, const Array<std::int64_t>& cell_offsets,
                               const Array<std::int32_t>& cell_docs, std::int64_t num_docs) {
    lir::DocumentSet found(num_docs);
    std::int64_t size;
    {
        py::gil_scoped_release release;
        const lir::Cells all{cell_offsets.data(), cell_offsets.size() - 1, cell_docs.data(), cell_docs.size()};
        for (py::ssize_t k = 0; k < cells.size(); ++k) found.add(all, cells.data()[k]);
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
    lir::centroid_maxsim(lir::CentroidTable{table.data(), rows, int(table.shape(1))},
                         lir::Codes<Code>{doc_codes.data(), table.shape(0)},
                         lir::Documents{starts.data(), ends.data(), starts.size()}, num_threads, score_data);
    return scores;
}

template <typename Code>
lir::CodedTokens<Code> coded_tokens(const Array<float>& centroid_scores, const Array<Code>& codes,
                                    const Array<std::uint8_t>& packed,
                                    const std::optional<Array<std::uint8_t>>& inv_norm,
                                    const std::optional<Array<float>>& inv_norm_table) {
    return {{codes.data(), centroid_scores.shape(0)},
            centroid_scores.data(),
            int(centroid_scores.shape(1)),
            packed.data(),
            packed.data() + packed.size(),
            inv_norm ? inv_norm->data() : nullptr,
            inv_norm_table ? inv_norm_table->data() : nullptr};
}

template <typename Code>
Array<float> maxsim_codes(const Array<float>& centroid_scores, const Array<std::int8_t>& query,
                          const Array<float>& query_scale, const Array<float>& query_bias, const Array<Code>& codes,
                          const Array<std::uint8_t>& packed, const std::optional<Array<std::uint8_t>>& inv_norm,
                          const std::optional<Array<float>>& inv_norm_table, const Array<std::int64_t>& starts,
                          const Array<std::int64_t>& ends, int nbits,
                          const std::optional<Array<std::uint8_t>>& level_table, int num_threads) {
    Array<float> scores(starts.size());
    float* score_data = scores.mutable_data();
    py::gil_scoped_release release;
    const int rows = int(query.shape(0)), dim = int(query.shape(1));
    const lir::ByteRows layout(dim, nbits, level_table ? level_table->data() : nullptr);
    const lir::QueryBytes bytes(query.data(), query_scale.data(), query_bias.data(), rows, dim, layout);
    const lir::CodedTokens<Code> tokens = coded_tokens(centroid_scores, codes, packed, inv_norm, inv_norm_table);
    lir::maxsim_codes(bytes, layout, tokens, lir::Documents{starts.data(), ends.data(), starts.size()}, num_threads,
                      score_data);
    return scores;
}

py::tuple scan_cells(const Array<std::int32_t>& cells, const Array<float>& cell_scores, const Array<std::int8_t>& query,
                     const Array<float>& query_scale, const Array<float>& query_bias,
                     const Array<std::int64_t>& cell_offsets, const Array<std::int32_t>& token_docs,
                     const Array<std::uint8_t>& blocks, const std::optional<Array<std::uint8_t>>& inv_norm,
                     const std::optional<Array<float>>& inv_norm_table, int nbits,
                     const std::optional<Array<std::uint8_t>>& level_table, int num_threads) {
    const int rows = int(cells.shape(0));
    const lir::CellTokens tokens{
        {cell_offsets.data(), cell_offsets.size() - 1, token_docs.data(), token_docs.size()},
        blocks.data(),
        inv_norm ? inv_norm->data() : nullptr,
        inv_norm_table ? inv_norm_table->data() : nullptr,
        nbits,
        {level_table ? level_table->data() : nullptr, nbits}};
    const lir::Probes probes{cells.data(), cell_scores.data(), rows, int(cells.shape(1))};
    Array<std::int64_t> row_offsets(rows + 1);
    std::vector<std::int64_t> starts;
    lir::probe_offsets(tokens.cells, probes, row_offsets.mutable_data(), starts);
    Array<std::int32_t> docs(row_offsets.data()[rows]);
    Array<float> scores(docs.size());
    std::int32_t* doc_data = docs.mutable_data();
    float* score_data = scores.mutable_data();
    {
        py::gil_scoped_release release;
        const lir::PackedRows packed(query.data(), rows, int(query.shape(1)), nbits);
        lir::scan_cells(tokens, probes, packed, query_scale.data(), query_bias.data(), starts, num_threads, doc_data,
                        score_data);
    }
    return py::make_tuple(row_offsets, docs, scores);
}

py::tuple score_triples(const Array<std::int64_t>& row_offsets, const Array<std::int32_t>& docs,
                        const Array<float>& scores, const Array<float>& imputed, std::int64_t num_docs,
                        int num_threads) {
    lir::Scored found;
    {
        py::gil_scoped_release release;
        const lir::Triples triples{row_offsets.data(), int(imputed.size()), docs.data(), scores.data()};
        found = lir::score_triples(triples, imputed.data(), num_docs, num_threads);
    }
    return py::make_tuple(Array<std::int64_t>(py::ssize_t(found.docs.size()), found.docs.data()),
                          Array<float>(py::ssize_t(found.scores.size()), found.scores.data()));
}

Array<std::int64_t> top_k(const Array<float>& scores, std::int64_t k) {
    std::vector<std::int64_t> best;
    {
        py::gil_scoped_release release;
        best = lir::top_k(scores.data(), scores.size(), k);
    }
    return Array<std::int64_t>(py::ssize_t(best.size()), best.data());
}

// What the first worker has found, which are the best of all.
template <typename Similarities>
py::tuple best_tokens(const lir::TopTokensWorkers<Similarities>& workers, int rows, std::int64_t count) {
    Array<std::int64_t> docs({py::ssize_t(rows), py::ssize_t(count)});
    Array<float> scores({py::ssize_t(rows), py::ssize_t(count)});
    std::int64_t* doc = docs.mutable_data();
    float* score = scores.mutable_data();
    for (int i = 0; count > 0 && i < rows; ++i)
        for (const lir::TokenScore& found : workers[0]->best[std::size_t(i)].finish())
            *doc++ = found.doc, *score++ = found.score;
    return py::make_tuple(docs, scores);
}

std::int64_t count_tokens(const lir::Documents& documents) {
    std::int64_t total = 0;
    for (std::int64_t k = 0; k < documents.size; ++k) total += documents.ends[k] - documents.starts[k];
    return total;
}

template <typename Token>
py::tuple top_tokens(const Array<float>& query, const Array<Token>& tokens, const Array<std::int64_t>& starts,
                     const Array<std::int64_t>& ends, std::int64_t count, int num_threads) {
    using Similarities = lir::ExactSimilarities<Token>;
    const lir::Documents documents{starts.data(), ends.data(), starts.size()};
    const int rows = int(query.shape(0)), dim = int(query.shape(1));
    count = std::min(count, count_tokens(documents));
    lir::TopTokensWorkers<Similarities> workers;
    {
        py::gil_scoped_release release;
        const lir::QueryLanes lanes(query.data(), rows, dim);
        for (int i = 0; count > 0 && i < num_threads; ++i)
            workers.push_back(std::make_unique<lir::TopTokensWorker<Similarities>>(
                std::make_unique<Similarities>(lanes, dim, tokens.data()), rows, count));
        if (count > 0) lir::top_tokens(documents, workers);
    }
    return best_tokens(workers, rows, count);
}

template <typename Code>
py::tuple top_tokens_codes(const Array<float>& centroid_scores, const Array<std::int8_t>& query,
                           const Array<float>& query_scale, const Array<float>& query_bias, const Array<Code>& codes,
                           const Array<std::uint8_t>& packed, const std::optional<Array<std::uint8_t>>& inv_norm,
                           const std::optional<Array<float>>& inv_norm_table, const Array<std::int64_t>& starts,
                           const Array<std::int64_t>& ends, int nbits,
                           const std::optional<Array<std::uint8_t>>& level_table, std::int64_t count,
                           int num_threads) {
    using Similarities = lir::CodedSimilarities<Code>;
    const lir::Documents documents{starts.data(), ends.data(), starts.size()};
    const int rows = int(query.shape(0)), dim = int(query.shape(1));
    count = std::min(count, count_tokens(documents));
    lir::TopTokensWorkers<Similarities> workers;
    {
        py::gil_scoped_release release;
        const lir::ByteRows layout(dim, nbits, level_table ? level_table->data() : nullptr);
        const lir::QueryBytes bytes(query.data(), query_scale.data(), query_bias.data(), rows, dim, layout);
        const lir::CodedTokens<Code> tokens =
            coded_tokens(centroid_scores, codes, packed, inv_norm, inv_norm_table);
        for (int i = 0; count > 0 && i < num_threads; ++i)
            workers.push_back(std::make_unique<lir::TopTokensWorker<Similarities>>(
                std::make_unique<Similarities>(bytes, layout, tokens), rows, count));
        const std::int64_t wrong = count > 0 ? lir::top_tokens(documents, workers) : -1;
        if (wrong >= 0) tokens.codes.refuse(wrong);
    }
    return best_tokens(workers, rows, count);
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

Array<float> encode_fde(const Array<float>& vectors, const Array<std::int64_t>& starts,
                        const Array<std::int64_t>& ends, const std::optional<Array<float>>& weights,
                        const Array<float>& planes, const Array<float>& thresholds,
                        const std::optional<Array<float>>& projections,
                        const std::optional<Array<std::int32_t>>& places, const std::optional<Array<float>>& signs,
                        std::int64_t size, bool mean, bool fill, int num_threads) {
    const int dim = int(planes.shape(2));
    const lir::Fde fde{dim,
                       int(planes.shape(0)),
                       int(planes.shape(1)),
                       planes.data(),
                       thresholds.data(),
                       projections ? projections->data() : nullptr,
                       projections ? int(projections->shape(1)) : dim,
                       places ? places->data() : nullptr,
                       signs ? signs->data() : nullptr,
                       size,
                       mean,
                       fill};
    Array<float> out({starts.size(), py::ssize_t(size)});
    float* out_data = out.mutable_data();
    {
        py::gil_scoped_release release;
        lir::encode_fde(fde, vectors.data(), weights ? weights->data() : nullptr,
                        lir::Documents{starts.data(), ends.data(), starts.size()}, num_threads, out_data);
    }
    return out;
}

Array<float> inner_products(const Array<float>& vector, const Array<std::uint16_t>& rows,
                            const std::optional<Array<std::int64_t>>& numbers, int num_threads) {
    Array<float> products(numbers ? numbers->size() : rows.shape(0));
    float* product_data = products.mutable_data();
    {
        py::gil_scoped_release release;
        lir::inner_products(vector.data(), rows.data(), rows.shape(1), numbers ? numbers->data() : nullptr,
                            products.size(), num_threads, product_data);
    }
    return products;
}

// Arguments are taken as they are or refused, never converted: a copy of an index would go unnoticed.
template <typename Function, typename... Names>
void define(py::module_& m, const char* name, Function function, Names... names) {
    m.def(name, function, py::arg(names).noconvert()...);
}

template <typename Number>
void define_for_numbers(py::module_& m) {
    define(m, "nearest", &nearest<Number>, "x", "centroids", "num_threads");
    define(m, "nearest_groups", &nearest_groups<Number>, "x", "centroids", "count", "num_threads");
    define(m, "encode_residuals", &encode_residuals<Number>, "x", "centroids", "codes", "step", "lo", "nbits",
           "num_threads");
    define(m, "top_tokens", &top_tokens<Number>, "query", "tokens", "starts", "ends", "count", "num_threads");
}

template <typename Code>
void define_for_codes(py::module_& m) {
    define(m, "centroid_maxsim", &centroid_maxsim<Code>, "table", "n", "doc_codes", "starts", "ends", "num_threads");
    define(m, "maxsim_codes", &maxsim_codes<Code>, "centroid_scores", "query", "query_scale", "query_bias", "codes",
           "packed", "inv_norm", "inv_norm_table", "starts", "ends", "nbits", "level_table", "num_threads");
    define(m, "top_tokens_codes", &top_tokens_codes<Code>, "centroid_scores", "query", "query_scale", "query_bias",
           "codes", "packed", "inv_norm", "inv_norm_table", "starts", "ends", "nbits", "level_table", "count",
           "num_threads");
}

// Names of the builds that this processor and operating system can run, best first.
std::vector<std::string> supported() {
#if defined(__x86_64__)
    std::vector<std::string> names;
    __builtin_cpu_init();
    const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    const bool icelake = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                         __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi") &&
                         __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512bitalg") &&
                         __builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("avx512ifma");
    if (icelake) names.push_back("icelake");
    if (v3) names.push_back("x86_64_v3");
    if (__builtin_cpu_supports("sse4.2")) names.push_back("x86_64_v2");
    return names;
#else
    return {"plain"};
#endif
}

}  // namespace

PYBIND11_MODULE(LIR_MODULE, m) {
    define_maxsim<float>(m);
    define_maxsim<std::uint16_t>(m);  // half precision, as bits
    define(m, "pack", &pack, "levels", "nbits");
    define(m, "unpack", &unpack, "packed", "dim", "nbits");
    define_for_numbers<float>(m);
    define_for_numbers<std::uint16_t>(m);  // half precision, as bits
    define(m, "centroid_scores", &centroid_scores, "query", "query_scale", "centroids", "centroid_scale",
           "num_threads");
    define(m, "score_table", &score_table, "scores", "n", "num_threads");
    define(m, "top_cells", &top_cells, "scores", "n", "p");
    define(m, "candidates", &candidates, "cells", "cell_offsets", "cell_docs", "num_docs");
    define(m, "scan_cells", &scan_cells, "cells", "cell_scores", "query", "query_scale", "query_bias", "cell_offsets",
           "token_docs", "blocks", "inv_norm", "inv_norm_table", "nbits", "level_table", "num_threads");
    define(m, "top_k", &top_k, "scores", "k");
    define(m, "score_triples", &score_triples, "row_offsets", "docs", "scores", "imputed", "num_docs", "num_threads");
    define(m, "top_cells_in_groups", &top_cells_in_groups, "query", "query_scale", "centroids", "centroid_scale",
           "group_offsets", "groups", "p");
    define(m, "encode_fde", &encode_fde, "vectors", "starts", "ends", "weights", "planes", "thresholds", "projections",
           "places", "signs", "size", "mean", "fill", "num_threads");
    define(m, "inner_products", &inner_products, "vector", "rows", "numbers", "num_threads");
    define_for_codes<std::uint16_t>(m);
    define_for_codes<std::int32_t>(m);
    m.def("supported", &supported);
}
