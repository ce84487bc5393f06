// Digests of what the kernels compute from fixed random bytes: equal for every instruction set they are compiled for.
// See elsewhere.py.
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <random>
#include <vector>

#include "centroid_scores.hpp"
#include "maxsim_codes.hpp"
#include "scan_cells.hpp"

namespace {

constexpr std::int64_t kTokens = 1536, kCells = 96;

template <typename T>
std::vector<T> bytes(std::size_t size, unsigned seed) {
    std::mt19937 random(seed);
    std::vector<T> values(size);
    for (T& value : values) value = T(random());
    return values;
}

template <typename T>
std::uint64_t digest(const std::vector<T>& values) {  // FNV-1a
    std::uint64_t hash = 1469598103934665603u;
    const auto* from = reinterpret_cast<const unsigned char*>(values.data());
    for (std::size_t i = 0; i < values.size() * sizeof(T); ++i) hash = (hash ^ from[i]) * 1099511628211u;
    return hash;
}

struct Case {
    int rows, dim, nbits, columns;
    std::vector<std::int8_t> query, centroids;
    std::vector<float> ones, scores;
    std::vector<std::uint8_t> packed;
    std::vector<std::uint16_t> codes;

    Case(int rows, int dim, int nbits)
        : rows(rows),
          dim(dim),
          nbits(nbits),
          columns((rows + 15) / 16 * 16),
          query(bytes<std::int8_t>(std::size_t(rows) * dim, 1)),
          centroids(bytes<std::int8_t>(kCells * std::size_t(dim), 2)),
          ones(std::size_t(std::max<std::int64_t>(rows, kCells)), 0.37f),
          scores(std::size_t(kCells) * columns),
          packed(bytes<std::uint8_t>(kTokens * std::size_t(lir::packed_width(dim, nbits)), 3)),
          codes(bytes<std::uint16_t>(kTokens, 4)) {
        for (auto& code : codes) code %= kCells;
        for (int k = 0; k < dim; ++k) query[std::size_t(k)] = -128;  // where 16 bits run over
    }

    std::uint64_t centroid_scores() {
        lir::centroid_scores(query.data(), ones.data(), rows, dim, columns, centroids.data(), ones.data(), kCells, 1,
                             scores.data());
        return digest(scores);
    }

    std::uint64_t maxsim_codes() {
        const lir::ByteRows layout(dim, nbits);
        const lir::QueryBytes asked(query.data(), ones.data(), ones.data(), rows, dim, layout);
        const lir::CodedTokens<std::uint16_t> tokens{{codes.data(), kCells}, scores.data(), columns, packed.data(),
                                                     packed.data() + packed.size(), nullptr, nullptr};
        std::vector<std::int64_t> starts, ends;
        for (std::int64_t t = 0; t < kTokens; t += 64) starts.push_back(t), ends.push_back(t + 64);
        const std::vector<std::int32_t> parts(starts.size(), 0);
        std::vector<float> found(starts.size());
        lir::maxsim_codes(asked, layout, &tokens,
                          {starts.data(), ends.data(), std::int64_t(starts.size()), parts.data()}, 1, found.data());
        return digest(found);
    }

    std::uint64_t scan_cells() {
        const std::size_t groups = std::size_t(lir::packed_groups(dim, nbits));
        const auto blocks = bytes<std::uint8_t>(kTokens / lir::kBlockTokens * groups * lir::kGroupBytes, 5);
        const std::vector<std::int32_t> docs(kTokens, 0);
        std::vector<std::int64_t> offsets(kCells + 1), row_offsets(std::size_t(rows) + 1), starts;
        for (std::size_t c = 0; c <= kCells; ++c) offsets[c] = std::int64_t(c) * kTokens / kCells;
        std::vector<std::int32_t> cells(std::size_t(rows) * 2);
        for (std::size_t i = 0; i < cells.size(); ++i) cells[i] = std::int32_t(i * 7 % kCells);
        const std::vector<float> cell_scores(cells.size(), 0.11f);
        const lir::CellTokens tokens{{offsets.data(), kCells, docs.data(), kTokens}, blocks.data(), nullptr, nullptr,
                                     nbits, {nullptr, nbits}};
        const lir::Probes probes{cells.data(), cell_scores.data(), rows, 2};
        lir::probe_offsets(tokens.cells, probes, row_offsets.data(), starts);
        std::vector<std::int32_t> found_docs(std::size_t(row_offsets.back()));
        std::vector<float> found(found_docs.size());
        const lir::PackedRows packed_rows(query.data(), rows, dim, nbits, nullptr);
        lir::scan_cells(tokens, probes, packed_rows, ones.data(), ones.data(), starts, 1, found_docs.data(),
                        found.data());
        return digest(found);
    }
};

}  // namespace

int main() {
    for (const int dim : {1, 3, 16, 96, 128, 130})
        for (const int nbits : {1, 2, 4, 8})
            for (const int rows : {1, 14, 23, 33}) {
                Case one(rows, dim, nbits);
                std::printf("%d %d %d centroid_scores %016" PRIx64 "\n", rows, dim, nbits, one.centroid_scores());
                std::printf("%d %d %d maxsim_codes %016" PRIx64 "\n", rows, dim, nbits, one.maxsim_codes());
                std::printf("%d %d %d scan_cells %016" PRIx64 "\n", rows, dim, nbits, one.scan_cells());
            }
}
