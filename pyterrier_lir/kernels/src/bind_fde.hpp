// Fixed dimensional encodings for Python.
#pragma once

#include <vector>

#include "bind.hpp"
#include "fde.hpp"
#include "inner_products.hpp"

namespace bind_fde {

using lir::Array;
using lir::define;

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

Array<float> inner_products(const Array<float>& vectors, const std::vector<Array<std::uint16_t>>& parts,
                            const std::optional<Array<std::int64_t>>& numbers, int num_threads) {
    lir::LongRows rows(vectors.shape(1));
    for (const auto& part : parts) rows.add(part.data(), part.shape(0));
    const std::int64_t count = numbers ? numbers->size() : rows.count();
    Array<float> products({vectors.shape(0), py::ssize_t(count)});
    float* product_data = products.mutable_data();
    {
        py::gil_scoped_release release;
        lir::inner_products(vectors.data(), vectors.shape(0), rows, numbers ? numbers->data() : nullptr, count,
                            num_threads, product_data);
    }
    return products;
}

inline void define_all(py::module_& m) {
    define(m, "encode_fde", &encode_fde, "vectors", "starts", "ends", "weights", "planes", "thresholds", "projections",
           "places", "signs", "size", "mean", "fill", "num_threads");
    define(m, "inner_products", &inner_products, "vectors", "parts", "numbers", "num_threads");
}

}  // namespace bind_fde
