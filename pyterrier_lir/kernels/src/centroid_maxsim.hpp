// MaxSim of documents whose tokens are replaced by their centroids, from a table of bytes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "codes.hpp"
#include "maxsim.hpp"
#include "parallel.hpp"
#include "vec.hpp"

namespace lir {

// A row of bytes for each centroid, of which the first `rows` are scores.
struct CentroidTable {
    const std::uint8_t* values;
    int rows, columns;
};

// Sum over the columns from `first` on, kBytes of them but below table.rows, of the largest entry among the codes
// start .. end - 1. Throws where one names no centroid.
template <int kBytes, typename Code>
inline int sum_of_maxima(const CentroidTable& table, const Codes<Code>& codes, int first, std::int64_t start,
                         std::int64_t end) {
    typedef std::uint8_t vbytes __attribute__((vector_size(kBytes)));
    vbytes largest = {};
    for (std::int64_t t = start; t < end; ++t) {
        if (!codes.exists(t)) codes.refuse(t);
        vbytes x;
        std::memcpy(&x, table.values + codes[t] * table.columns + first, kBytes);
        largest = x > largest ? x : largest;
    }
    std::uint8_t maxima[kBytes];
    std::memcpy(maxima, &largest, kBytes);
    const int used = std::min(kBytes, table.rows - first);
    std::memset(maxima + used, 0, std::size_t(kBytes - used));
    int sum = 0;
    for (int i = 0; i < kBytes; ++i) sum += maxima[i];
    return sum;
}

template <typename Code>
inline int centroid_score(const CentroidTable& table, const Codes<Code>& codes, std::int64_t start, std::int64_t end) {
    if (start == end) return -1;
    constexpr int kHalf = std::max(16, kVectorBytes / 2);
    int sum = 0, first = 0;
    for (; first + kVectorBytes <= table.columns; first += kVectorBytes)
        sum += sum_of_maxima<kVectorBytes>(table, codes, first, start, end);
    for (; first + kHalf <= table.columns; first += kHalf)
        sum += sum_of_maxima<kHalf>(table, codes, first, start, end);
    for (; first < table.columns; first += 16) sum += sum_of_maxima<16>(table, codes, first, start, end);
    return sum;
}

// scores[k]: that sum over all columns for document k, -1 if it has no codes
template <typename Code>
void centroid_maxsim(const CentroidTable& table, const Codes<Code>* parts, const Documents& documents, int num_threads,
                     std::int32_t* scores) {
    const auto borders = balanced_borders(documents, num_threads == 1 ? 1 : 4 * std::int64_t(num_threads));
    const std::int64_t pieces = std::int64_t(borders.size()) - 1;
    num_threads = int(std::min<std::int64_t>(num_threads, pieces));
    parallel_for(num_threads, pieces, [&](int, std::int64_t piece) {
        for (std::int64_t k = borders[std::size_t(piece)]; k < borders[std::size_t(piece) + 1]; ++k)
            scores[k] = centroid_score(table, parts[documents.part(k)], documents.starts[k], documents.ends[k]);
    });
}

}  // namespace lir
