// The second piece of the Python module: searches of a whole index, and fixed-dimensional encodings.
#include "bind_fde.hpp"
#include "bind_index.hpp"
#include "bind_queries.hpp"
#include "bind_warp.hpp"

void define_searches(py::module_& m) {
    bind_fde::define_all(m);
    bind_queries::define_all(m);
    bind_index::define_all(m);
    bind_warp::define_all(m);
}
