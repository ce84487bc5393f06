// What the bindings share. Arguments are checked in Python (kernels/checks.py): what arrives here has the right types,
// is C-contiguous, and names no token outside of its array.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <optional>

namespace py = pybind11;

namespace lir {

template <typename T>
using Array = py::array_t<T, py::array::c_style>;

// Arguments are taken as they are or refused, never converted: a copy of an index would go unnoticed.
template <typename Function, typename... Names>
void define(py::module_& m, const char* name, Function function, Names... names) {
    m.def(name, function, py::arg(names).noconvert()...);
}

}  // namespace lir
