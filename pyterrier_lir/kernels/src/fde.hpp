// Fixed dimensional encodings: any number of vectors become one long vector whose inner products estimate MaxSim.
//
// The products with all hyperplanes are taken at once, as bits; then each repetition gathers its cells. Only cells that
// a vector lies in have a row in memory, and the projection, which is linear, is applied to these rows: there are at
// most as many as vectors, and for a long document far fewer. The empty cells are filled by one pass over the cells for
// each bit of their numbers, because the Hamming distance is a sum over bits.
//
// Sums run over vectors in order, projections are chains of multiply-adds over the dimensions in order: a result
// depends neither on the other documents nor on the number of threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <vector>

#include "maxsim.hpp"
#include "memory.hpp"
#include "nearest.hpp"
#include "parallel.hpp"
#include "vec.hpp"

namespace lir {

struct Fde {
    std::int64_t cells() const { return std::int64_t(1) << bits; }

    int dim, reps, bits;         // so many hyperplanes cut space into cells, in each repetition
    const float* planes;         // (reps * bits, dim)
    const float* thresholds;     // (reps * bits,): a bit is set where the product is larger
    const float* projections;    // (reps, width, dim); null where vectors stay as they are
    int width;                   // of a cell in the result
    const std::int32_t* places;  // (reps * cells * width,) where each value is added; null: side by side
    const float* signs;          // (reps * cells * width,)
    std::int64_t size;           // of the result
    bool mean;                   // a cell holds the mean of its vectors, else their sum
    bool fill;                   // an empty cell holds the vector of the nearest cell that comes first
};

// The matrices as lanes.
struct FdeLanes {
    explicit FdeLanes(const Fde& fde)
        : planes(fde.planes, fde.reps * fde.bits, fde.dim), thresholds(std::size_t(planes.vectors()) * kLanes) {
        std::copy_n(fde.thresholds, fde.reps * fde.bits, thresholds.data());
        for (int rep = 0; fde.projections && rep < fde.reps; ++rep)
            projections.emplace_back(fde.projections + std::size_t(rep) * fde.width * fde.dim, fde.width, fde.dim);
    }

    QueryLanes planes;
    Buffer<float> thresholds;
    std::deque<QueryLanes> projections;
};

// Products of a matrix's rows with lanes.
class Multiplier {
   public:
    explicit Multiplier(int dim) : dim_(dim), batch_(dim), products_(kTile * 2 * kLanes) {}

    // Calls use(row, v, product) for each row and each vector v of lanes.
    template <typename Use>
    void multiply(const float* rows, std::int64_t count, const QueryLanes& lanes, const Use& use) {
        for (std::int64_t start = 0; start < count; start += batch_.rows()) {
            const int size = int(std::min<std::int64_t>(batch_.rows(), count - start));
            batch_.fill(rows + start * dim_, size);
            for (int v = 0; v < lanes.vectors(); v += 2) {
                if (lanes.block_vectors(v) == 2)
                    block<2>(start, size, lanes, v, use);
                else
                    block<1>(start, size, lanes, v, use);
            }
        }
    }

   private:
    template <int V, typename Use>
    void block(std::int64_t start, int size, const QueryLanes& lanes, int first_vector, const Use& use) {
        for (int first = 0; first < size; first += kTile) {
            batch_.template products<V>(first, lanes.block(first_vector), products_.data());
            for (int r = 0; r < std::min(kTile, size - first); ++r)
                for (int v = 0; v < V; ++v)
                    use(start + first + r, first_vector + v, load(products_.data() + (r * V + v) * kLanes));
        }
    }

    int dim_;
    Batch<float> batch_;
    Buffer<float> products_;
};

// For each vector of a document the bits of all repetitions; the first `bits` are its cell in the first one.
class SimHash {
   public:
    SimHash(const Fde& fde, const FdeLanes& lanes, std::int64_t longest)
        : bits_(fde.bits), lanes_(lanes), words_(std::size_t(lanes.planes.vectors()) * kLanes / 32 + 2) {
        hashes_.reserve(std::size_t(longest) * words_);
    }

    void compute(Multiplier& multiplier, const float* vectors, std::int64_t count) {
        hashes_.assign(std::size_t(count) * words_, 0);
        multiplier.multiply(vectors, count, lanes_.planes, [this](std::int64_t row, int v, vfloat product) {
            const int bit = v * kLanes;
            const unsigned above = lane_bits(product > load(lanes_.thresholds.data() + bit));
            hashes_[std::size_t(row) * words_ + bit / 32] |= std::uint32_t(above) << bit % 32;
        });
    }

    std::uint32_t cell(std::int64_t row, int rep) const {
        const int bit = rep * bits_;
        const std::uint32_t* words = hashes_.data() + std::size_t(row) * words_ + bit / 32;
        const std::uint64_t both = std::uint64_t(words[1]) << 32 | words[0];
        return std::uint32_t(both >> bit % 32) & ((1u << bits_) - 1);
    }

   private:
    int bits_;
    const FdeLanes& lanes_;
    std::size_t words_;
    std::vector<std::uint32_t> hashes_;
};

// One thread's memory for encoding documents of up to `longest` vectors, one at a time; allocated before it starts.
class FdeWorker {
   public:
    FdeWorker(const Fde& fde, const FdeLanes& lanes, std::int64_t longest)
        : fde_(fde), lanes_(lanes), multiplier_(fde.dim), hash_(fde, lanes, longest),
          row_of_(std::size_t(fde.cells())), nearest_(fde.fill ? std::size_t(fde.cells()) : 0) {
        const std::size_t rows = std::size_t(std::min(fde.cells(), 2 * longest));  // each cell needs one at most
        cells_.reserve(rows);
        rows_.reserve(rows * std::size_t(fde.dim));
        if (fde.projections) projected_.reserve(rows * std::size_t(lanes.projections[0].vectors()) * kLanes);
    }

    // `weights` (or null) multiply the vectors, but not what their cells depend on.
    void encode(const float* vectors, const float* weights, std::int64_t count, float* out) {
        std::fill_n(out, fde_.size, 0.0f);
        if (count == 0) return;
        hash_.compute(multiplier_, vectors, count);
        for (int rep = 0; rep < fde_.reps; ++rep) {
            gather(rep, vectors, weights, count);
            if (fde_.fill) fill(rep, vectors);
            project(rep);
            write(rep, out);
        }
    }

   private:
    // A row of rows_: the sum of `count` vectors, of which `first` is the first; `alone` is the row of only that one.
    struct Cell {
        std::int64_t first;
        int count, alone;
    };

    int add_row(const float* from, float weight) {
        const int row = int(rows_.size() / std::size_t(fde_.dim));
        rows_.resize(rows_.size() + std::size_t(fde_.dim));
        float* to = rows_.data() + std::size_t(row) * fde_.dim;
        for (int k = 0; k < fde_.dim; ++k) to[k] = weight * from[k];
        return row;
    }

    void gather(int rep, const float* vectors, const float* weights, std::int64_t count) {
        rows_.clear(), cells_.clear();
        std::fill(row_of_.begin(), row_of_.end(), -1);
        for (std::int64_t t = 0; t < count; ++t) {
            const float* vector = vectors + t * fde_.dim;
            const float weight = weights ? weights[t] : 1.0f;
            int& row = row_of_[hash_.cell(t, rep)];
            if (row < 0) {
                row = add_row(vector, weight);
                cells_.push_back({t, 1, row});
                continue;
            }
            float* sum = rows_.data() + std::size_t(row) * fde_.dim;
            for (int k = 0; k < fde_.dim; ++k) sum[k] += weight * vector[k];
            ++cells_[std::size_t(row)].count, cells_[std::size_t(row)].alone = -1;
        }
        for (std::size_t row = 0; fde_.mean && row < cells_.size(); ++row) {
            float* sum = rows_.data() + row * fde_.dim;
            const float size = float(cells_[row].count);
            for (int k = 0; k < fde_.dim; ++k) sum[k] /= size;
        }
    }

    void fill(int rep, const float* vectors) {
        constexpr std::uint64_t kStep = std::uint64_t(1) << 32;  // a bit of distance outweighs any vector's number
        const std::size_t cells = row_of_.size();
        for (std::size_t c = 0; c < cells; ++c)
            nearest_[c] = row_of_[c] < 0 ? 64 * kStep : std::uint64_t(cells_[std::size_t(row_of_[c])].first);
        for (std::size_t bit = 1; bit < cells; bit *= 2)
            for (std::size_t c = 0; c < cells; ++c) {
                if (c & bit) continue;
                const std::uint64_t without = nearest_[c], with = nearest_[c | bit];
                nearest_[c] = std::min(without, with + kStep);
                nearest_[c | bit] = std::min(with, without + kStep);
            }
        for (std::size_t c = 0; c < cells; ++c) {
            if (row_of_[c] >= 0) continue;
            const std::int64_t first = std::int64_t(nearest_[c] % kStep);
            Cell& cell = cells_[std::size_t(row_of_[hash_.cell(first, rep)])];
            if (cell.alone < 0) cell.alone = add_row(vectors + first * fde_.dim, 1.0f);
            row_of_[c] = cell.alone;
        }
    }

    void project(int rep) {
        if (!fde_.projections) return;
        const QueryLanes& lanes = lanes_.projections[std::size_t(rep)];
        const std::size_t stride = std::size_t(lanes.vectors()) * kLanes, count = rows_.size() / std::size_t(fde_.dim);
        projected_.resize(count * stride);
        multiplier_.multiply(rows_.data(), std::int64_t(count), lanes, [&](std::int64_t row, int v, vfloat product) {
            store(projected_.data() + std::size_t(row) * stride + std::size_t(v) * kLanes, product);
        });
    }

    void write(int rep, float* out) const {
        const int stride = fde_.projections ? lanes_.projections[std::size_t(rep)].vectors() * kLanes : fde_.dim;
        const float* values = fde_.projections ? projected_.data() : rows_.data();
        for (std::size_t c = 0; c < row_of_.size(); ++c) {
            if (row_of_[c] < 0) continue;
            const float* from = values + std::size_t(row_of_[c]) * stride;
            const std::size_t place = (std::size_t(rep) * row_of_.size() + c) * fde_.width;
            if (!fde_.places) {
                std::copy_n(from, fde_.width, out + place);
                continue;
            }
            for (int k = 0; k < fde_.width; ++k) out[fde_.places[place + k]] += fde_.signs[place + k] * from[k];
        }
    }

    const Fde& fde_;
    const FdeLanes& lanes_;
    Multiplier multiplier_;
    SimHash hash_;
    std::vector<int> row_of_;             // of each cell; -1: none
    std::vector<Cell> cells_;             // of the rows that are sums
    std::vector<float> rows_, projected_;
    std::vector<std::uint64_t> nearest_;  // distance and number of each cell's nearest vector
};

// out[k * fde.size ..]: the encoding of document k
inline void encode_fde(const Fde& fde, const float* vectors, const float* weights, const Documents& documents,
                       int num_threads, float* out) {
    const FdeLanes lanes(fde);
    const auto borders = balanced_borders(documents, num_threads == 1 ? 1 : 4 * std::int64_t(num_threads));
    const std::int64_t pieces = std::int64_t(borders.size()) - 1;
    num_threads = int(std::min<std::int64_t>(num_threads, pieces));
    std::int64_t longest = 0;
    for (std::int64_t k = 0; k < documents.size; ++k)
        longest = std::max(longest, documents.ends[k] - documents.starts[k]);
    std::vector<std::unique_ptr<FdeWorker>> workers;
    for (int i = 0; i < num_threads; ++i) workers.push_back(std::make_unique<FdeWorker>(fde, lanes, longest));
    parallel_for(num_threads, pieces, [&](int worker, std::int64_t piece) {
        for (std::int64_t k = borders[std::size_t(piece)]; k < borders[std::size_t(piece) + 1]; ++k) {
            const std::int64_t start = documents.starts[k];
            workers[std::size_t(worker)]->encode(vectors + start * fde.dim, weights ? weights + start : nullptr,
                                                 documents.ends[k] - start, out + k * fde.size);
        }
    });
}

}  // namespace lir
