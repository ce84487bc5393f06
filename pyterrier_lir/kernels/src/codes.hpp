// Numbers of centroids as they come from files: nothing says that they name centroids which exist.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace lir {

template <typename Code>
struct Codes {
    const Code* values;
    std::int64_t num_centroids;

    std::int64_t operator[](std::int64_t t) const { return std::int64_t(values[t]); }

    // A negative number, unsigned, is larger than any that exists.
    bool exists(std::int64_t t) const { return std::uint64_t((*this)[t]) < std::uint64_t(num_centroids); }

    [[noreturn]] void refuse(std::int64_t t) const {
        throw std::invalid_argument("codes[" + std::to_string(t) + "] is " + std::to_string(values[t]) +
                                    ", but there are " + std::to_string(num_centroids) +
                                    " centroids; are the codes from another index?");
    }
};

}  // namespace lir
