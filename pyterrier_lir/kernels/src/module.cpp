// The Python module; LIR_MODULE is its name. Its functions are in bind_*.hpp, a file for each family of kernels: the
// headers of pybind11 take most of the time of a small file, so that one file for all is compiled fastest.
#include <string>
#include <vector>

#include "bind_cells.hpp"
#include "bind_codes.hpp"
#include "bind_exact.hpp"
#include "bind_fde.hpp"
#include "bind_index.hpp"
#include "bind_queries.hpp"
#include "bind_tokens.hpp"
#include "bind_warp.hpp"

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace {

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
#elif defined(__aarch64__) && defined(__linux__)
    if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) return {"dotprod", "plain"};
    return {"plain"};
#else
    return {"plain"};
#endif
}

}  // namespace

PYBIND11_MODULE(LIR_MODULE, m) {
    bind_exact::define_all(m);
    bind_codes::define_all(m);
    bind_cells::define_all(m);
    bind_tokens::define_all(m);
    bind_fde::define_all(m);
    bind_queries::define_all(m);
    bind_index::define_all(m);
    bind_warp::define_all(m);
    m.def("supported", &supported);
}
