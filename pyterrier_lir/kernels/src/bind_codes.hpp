// Token vectors as codes, for Python.
#pragma once

#include "bind.hpp"
#include "bind_coded_tokens.hpp"
#include "encode.hpp"
#include "maxsim_codes.hpp"
#include "nearest.hpp"
#include "packed.hpp"

namespace bind_codes {

using lir::Array;
using lir::define;

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
    const lir::CodedTokens<Code> tokens = lir::coded_tokens(centroid_scores, codes, packed, inv_norm, inv_norm_table);
    lir::maxsim_codes(bytes, layout, &tokens, lir::Documents{starts.data(), ends.data(), starts.size()}, num_threads,
                      score_data);
    return scores;
}

template <typename Number>
void define_for_numbers(py::module_& m) {
    define(m, "nearest", &nearest<Number>, "x", "centroids", "num_threads");
    define(m, "nearest_groups", &nearest_groups<Number>, "x", "centroids", "count", "num_threads");
    define(m, "encode_residuals", &encode_residuals<Number>, "x", "centroids", "codes", "step", "lo", "nbits",
           "num_threads");
}

template <typename Code>
void define_for_codes(py::module_& m) {
    define(m, "maxsim_codes", &maxsim_codes<Code>, "centroid_scores", "query", "query_scale", "query_bias", "codes",
           "packed", "inv_norm", "inv_norm_table", "starts", "ends", "nbits", "level_table", "num_threads");
}

inline void define_all(py::module_& m) {
    define(m, "pack", &pack, "levels", "nbits");
    define(m, "unpack", &unpack, "packed", "dim", "nbits");
    define_for_numbers<float>(m);
    define_for_numbers<std::uint16_t>(m);  // half precision, as bits
    define_for_codes<std::uint16_t>(m);
    define_for_codes<std::int32_t>(m);
}

}  // namespace bind_codes
