// Inner products of one long vector with rows of half-precision numbers.
//
// A row's sum runs over 32 lanes, whatever the width of the machine's vectors, so all builds with a fused multiply-add
// agree. The work is to bring the rows from memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "memory.hpp"
#include "parallel.hpp"
#include "vec.hpp"

namespace lir {

constexpr int kSums = 32;

// `vector` and `row` hold whole pieces of kSums numbers
inline void add_pieces(const float* vector, const std::uint16_t* row, std::int64_t size, vfloat* sums) {
    for (std::int64_t k = 0; k < size; k += kSums)
        for (int v = 0; v < kSums / kLanes; ++v)
            sums[v] = fmadd(load(vector + k + v * kLanes), load_half(row + k + v * kLanes), sums[v]);
}

inline float inner_product(const float* vector, const std::uint16_t* row, std::int64_t size) {
    vfloat sums[kSums / kLanes] = {};
    const std::int64_t whole = size / kSums * kSums;
    add_pieces(vector, row, whole, sums);
    if (whole < size) {
        float left[kSums] = {};
        std::uint16_t right[kSums] = {};
        std::copy(vector + whole, vector + size, left);
        std::copy(row + whole, row + size, right);
        add_pieces(left, right, kSums, sums);
    }
    float parts[kSums];
    std::memcpy(parts, sums, sizeof parts);
    for (int half = kSums / 2; half > 0; half /= 2)
        for (int i = 0; i < half; ++i) parts[i] += parts[i + half];
    return parts[0];
}

// products[k] = <vector, row numbers[k]>, or row k where `numbers` is null
inline void inner_products(const float* vector, const std::uint16_t* rows, std::int64_t size,
                           const std::int64_t* numbers, std::int64_t count, int num_threads, float* products) {
    const std::int64_t piece = 256, pieces = (count + piece - 1) / piece;
    num_threads = int(std::min<std::int64_t>(num_threads, pieces));
    parallel_for(num_threads, pieces, [&](int, std::int64_t i) {
        for (std::int64_t k = i * piece; k < std::min(count, (i + 1) * piece); ++k)
            products[k] = inner_product(vector, rows + (numbers ? numbers[k] : k) * size, size);
    });
}

}  // namespace lir
