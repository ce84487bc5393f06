// Names of the builds that this processor and operating system can run, best first.
//
// A module of its own, compiled for every processor: where another one is not supported, loading it may already fail.
#include <Python.h>

#include <vector>

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace {

std::vector<const char*> names() {
#if defined(__x86_64__)
    std::vector<const char*> found;
    __builtin_cpu_init();
    const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    const bool icelake = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                         __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi") &&
                         __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512bitalg") &&
                         __builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("avx512ifma");
    if (icelake) found.push_back("icelake");
    if (v3) found.push_back("x86_64_v3");
    if (__builtin_cpu_supports("sse4.2")) found.push_back("x86_64_v2");
    return found;
#elif defined(__aarch64__) && defined(__linux__)
    if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) return {"dotprod", "plain"};
    return {"plain"};
#else
    return {"plain"};
#endif
}

PyObject* supported(PyObject*, PyObject*) {
    PyObject* list = PyList_New(0);
    for (const char* name : names()) {
        PyObject* text = PyUnicode_FromString(name);
        if (list == nullptr || text == nullptr || PyList_Append(list, text) != 0) {
            Py_XDECREF(text);
            Py_XDECREF(list);
            return nullptr;
        }
        Py_DECREF(text);
    }
    return list;
}

PyMethodDef functions[] = {{"supported", supported, METH_NOARGS, "Builds that run here, best first."},
                           {nullptr, nullptr, 0, nullptr}};
PyModuleDef module = {PyModuleDef_HEAD_INIT, "_cpu", nullptr, 0, functions, nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__cpu() { return PyModule_Create(&module); }
