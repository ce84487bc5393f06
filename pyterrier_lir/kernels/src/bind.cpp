// The Python module; LIR_MODULE is its name. Arguments are checked in Python (kernels/__init__.py): what arrives
// here has the right types, is C-contiguous, and names no token outside of its array.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <vector>

#include "maxsim.hpp"

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
    m.def("supported", &supported);
}
