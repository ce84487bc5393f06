// The Python module; LIR_MODULE is its name. Its functions are in bind_*.hpp, a file for each family of kernels. They are
// compiled in two pieces, this one and searches.cpp, that take about as long: the headers of pybind11 alone take most of
// the time of a small file.
#include "bind_cells.hpp"
#include "bind_codes.hpp"
#include "bind_exact.hpp"
#include "bind_tokens.hpp"

void define_searches(py::module_& m);

PYBIND11_MODULE(LIR_MODULE, m) {
    bind_exact::define_all(m);
    bind_codes::define_all(m);
    bind_cells::define_all(m);
    bind_tokens::define_all(m);
    define_searches(m);
}
