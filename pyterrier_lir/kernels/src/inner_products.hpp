// Inner products of long vectors with rows of half-precision numbers, which may lie in several matrices.
//
// A row's sum runs over 16 lanes, whatever the width of the machine's vectors, so all builds with a fused multiply-add
// agree. For one vector the work is to bring the rows from memory: six rows at a time, because a vector of many values
// does not stay in the first cache, and is brought once for all of them. Two vectors share the rows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "memory.hpp"
#include "parallel.hpp"
#include "vec.hpp"

namespace lir {

constexpr int kSums = 16;
constexpr int kSumVectors = kSums / kLanes;
constexpr int kProducts = std::min(6, kAccumulators / kSumVectors);  // that are summed at a time, in registers
constexpr int kRows = 18;      // which stay in the cache while vector after vector meets them
constexpr int kFetched = 1024;  // values of a row that are fetched ahead; machines do not by themselves from page to page

// The rows of some matrices after each other.
class LongRows {
   public:
    explicit LongRows(std::int64_t size) : size_(size) {}

    void add(const std::uint16_t* rows, std::int64_t count) {
        parts_.push_back(rows);
        ends_.push_back(count_ += count);
    }
    std::int64_t size() const { return size_; }
    std::int64_t count() const { return count_; }

    const std::uint16_t* row(std::int64_t number) const {
        const auto part = std::size_t(std::upper_bound(ends_.begin(), ends_.end(), number) - ends_.begin());
        return parts_[part] + (number - (part ? ends_[part - 1] : 0)) * size_;
    }

   private:
    std::int64_t size_, count_ = 0;
    std::vector<const std::uint16_t*> parts_;
    std::vector<std::int64_t> ends_;
};

// sums[r][v] += the products of row r with vector v in each lane; they hold whole pieces of kSums numbers
template <int R, int V>
inline void add_pieces(const float* const* vectors, const std::uint16_t* const* rows, std::int64_t size,
                       vfloat (&sums)[R][V][kSumVectors]) {
    for (std::int64_t k = 0; k < size; k += kSums) {
        const std::int64_t later = std::min(k + kFetched, size - 1);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) __builtin_prefetch(rows[r] + later, 0, 2);
#pragma GCC unroll 8
        for (int part = 0; part < kSumVectors; ++part) {
            vfloat row[R];
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) row[r] = load_half(rows[r] + k + part * kLanes);
#pragma GCC unroll 8
            for (int v = 0; v < V; ++v) {
                const vfloat x = load(vectors[v] + k + part * kLanes);
#pragma GCC unroll 8
                for (int r = 0; r < R; ++r) sums[r][v][part] = fmadd(x, row[r], sums[r][v][part]);
            }
        }
    }
}

inline float sum_of(const vfloat (&sums)[kSumVectors]) {
    float parts[kSums];
    std::memcpy(parts, sums, sizeof parts);
    for (int half = kSums / 2; half > 0; half /= 2)
        for (int i = 0; i < half; ++i) parts[i] += parts[i + half];
    return parts[0];
}

// products[v * stride + r] of R rows with V vectors
template <int R, int V>
__attribute__((noinline)) void multiply(const float* vectors, const std::uint16_t* const* rows, std::int64_t size,
                                        std::int64_t stride, float* products) {
    vfloat sums[R][V][kSumVectors] = {};
    const float* vector[V];
    const std::uint16_t* row[R];
    for (int v = 0; v < V; ++v) vector[v] = vectors + v * size;
    for (int r = 0; r < R; ++r) row[r] = rows[r];
    const std::int64_t whole = size / kSums * kSums;
    add_pieces<R, V>(vector, row, whole, sums);
    if (whole < size) {
        float last_of_vector[V][kSums] = {};
        std::uint16_t last_of_row[R][kSums] = {};
        for (int v = 0; v < V; ++v) std::copy(vector[v] + whole, vector[v] + size, last_of_vector[v]);
        for (int r = 0; r < R; ++r) std::copy(row[r] + whole, row[r] + size, last_of_row[r]);
        for (int v = 0; v < V; ++v) vector[v] = last_of_vector[v];
        for (int r = 0; r < R; ++r) row[r] = last_of_row[r];
        add_pieces<R, V>(vector, row, kSums, sums);
    }
    for (int v = 0; v < V; ++v)
        for (int r = 0; r < R; ++r) products[v * stride + r] = sum_of(sums[r][v]);
}

// The same for any number of rows.
template <int V>
inline void multiply_rows(const float* vectors, const std::uint16_t* const* rows, int num_rows, std::int64_t size,
                          std::int64_t stride, float* products) {
    constexpr int R = std::max(kProducts / V, 1);
    int r = 0;
    for (; r + R <= num_rows; r += R) multiply<R, V>(vectors, rows + r, size, stride, products + r);
    for (; r < num_rows; ++r) multiply<1, V>(vectors, rows + r, size, stride, products + r);
}

// products[v * count + k] = <vectors[v], row numbers[k]>, or row k where `numbers` is null
inline void inner_products(const float* vectors, std::int64_t num_vectors, const LongRows& rows,
                           const std::int64_t* numbers, std::int64_t count, int num_threads, float* products) {
    const std::int64_t pieces = (count + kRows - 1) / kRows, size = rows.size();
    num_threads = int(std::min<std::int64_t>(num_threads, pieces));
    parallel_for(num_threads, pieces, [&](int, std::int64_t piece) {
        const std::int64_t first = piece * kRows;
        const int found = int(std::min<std::int64_t>(kRows, count - first));
        const std::uint16_t* row[kRows];
        for (int r = 0; r < found; ++r) row[r] = rows.row(numbers ? numbers[first + r] : first + r);
        std::int64_t v = 0;
        for (; v + 2 <= num_vectors; v += 2)
            multiply_rows<2>(vectors + v * size, row, found, size, count, products + v * count + first);
        if (v < num_vectors) multiply_rows<1>(vectors + v * size, row, found, size, count, products + v * count + first);
    });
}

}  // namespace lir
