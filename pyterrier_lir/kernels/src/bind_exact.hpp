// Exact scores for Python.
#pragma once

#include <vector>

#include "bind.hpp"
#include "maxsim.hpp"
#include "top_k.hpp"

namespace bind_exact {

using lir::Array;
using lir::define;

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
        lir::maxsim(query_data, rows, dim, weights_data, &token_data, documents, num_threads, score_data);
    }
    return scores;
}

Array<std::int64_t> top_k(const Array<float>& scores, std::int64_t k) {
    std::vector<std::int64_t> best;
    {
        py::gil_scoped_release release;
        best = lir::top_k(scores.data(), scores.size(), k);
    }
    return Array<std::int64_t>(py::ssize_t(best.size()), best.data());
}

inline void define_all(py::module_& m) {
    define(m, "maxsim", &maxsim<float>, "query", "tokens", "starts", "ends", "weights", "num_threads");
    // half precision, as bits
    define(m, "maxsim", &maxsim<std::uint16_t>, "query", "tokens", "starts", "ends", "weights", "num_threads");
    define(m, "top_k", &top_k, "scores", "k");
}

}  // namespace bind_exact
