// Single tokens, and documents made of them, for Python.
#pragma once

#include <memory>
#include <vector>

#include "bind.hpp"
#include "bind_coded_tokens.hpp"
#include "maxsim.hpp"
#include "scan_cells.hpp"
#include "score_triples.hpp"
#include "top_tokens.hpp"

namespace bind_tokens {

using lir::Array;
using lir::define;

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
        const lir::PackedRows packed(query.data(), rows, int(query.shape(1)), nbits,
                                     level_table ? level_table->data() : nullptr);
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
            lir::coded_tokens(centroid_scores, codes, packed, inv_norm, inv_norm_table);
        for (int i = 0; count > 0 && i < num_threads; ++i)
            workers.push_back(std::make_unique<lir::TopTokensWorker<Similarities>>(
                std::make_unique<Similarities>(bytes, layout, tokens), rows, count));
        const std::int64_t wrong = count > 0 ? lir::top_tokens(documents, workers) : -1;
        if (wrong >= 0) tokens.codes.refuse(wrong);
    }
    return best_tokens(workers, rows, count);
}

template <typename Number>
void define_for_numbers(py::module_& m) {
    define(m, "top_tokens", &top_tokens<Number>, "query", "tokens", "starts", "ends", "count", "num_threads");
}

template <typename Code>
void define_for_codes(py::module_& m) {
    define(m, "top_tokens_codes", &top_tokens_codes<Code>, "centroid_scores", "query", "query_scale", "query_bias",
           "codes", "packed", "inv_norm", "inv_norm_table", "starts", "ends", "nbits", "level_table", "count",
           "num_threads");
}

inline void define_all(py::module_& m) {
    define(m, "scan_cells", &scan_cells, "cells", "cell_scores", "query", "query_scale", "query_bias", "cell_offsets",
           "token_docs", "blocks", "inv_norm", "inv_norm_table", "nbits", "level_table", "num_threads");
    define(m, "score_triples", &score_triples, "row_offsets", "docs", "scores", "imputed", "num_docs", "num_threads");
    define_for_numbers<float>(m);
    define_for_numbers<std::uint16_t>(m);  // half precision, as bits
    define_for_codes<std::uint16_t>(m);
    define_for_codes<std::int32_t>(m);
}

}  // namespace bind_tokens
