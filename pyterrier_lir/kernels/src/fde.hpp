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
#include <stdexcept>
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

// Products of rows, wherever they lie, with lanes.
class Multiplier {
   public:
    explicit Multiplier(int dim) : batch_(dim), products_(kTile * 2 * kLanes) {}

    // Calls use(number, v, product) for each row and each vector v of lanes; row(number) is where it lies.
    template <typename Row, typename Use>
    void multiply(std::int64_t count, const QueryLanes& lanes, const Row& row, const Use& use) {
        for (std::int64_t start = 0; start < count; start += batch_.rows()) {
            const int size = int(std::min<std::int64_t>(batch_.rows(), count - start));
            for (int r = 0; r < size; ++r) batch_.set(r, row(start + r));
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
            const int rows = std::min(kTile, size - first);
            batch_.template products<V>(first, lanes.block(first_vector), products_.data(), rows);
            for (int r = 0; r < rows; ++r)
                for (int v = 0; v < V; ++v)
                    use(start + first + r, first_vector + v, load(products_.data() + (r * V + v) * kLanes));
        }
    }

    Batch<float> batch_;
    Buffer<float> products_;
};

// For each vector of a document the bits of all repetitions; the first `bits` are its cell in the first one.
class SimHash {
   public:
    SimHash(const Fde& fde, const FdeLanes& lanes, std::int64_t longest)
        : dim_(fde.dim), bits_(fde.bits), lanes_(lanes), words_(std::size_t(lanes.planes.vectors()) * kLanes / 32 + 2) {
        hashes_.reserve(std::size_t(longest) * words_);
    }

    void compute(Multiplier& multiplier, const float* vectors, std::int64_t count) {
        hashes_.assign(std::size_t(count) * words_, 0);
        const auto row = [&](std::int64_t t) { return vectors + t * dim_; };
        multiplier.multiply(count, lanes_.planes, row, [this](std::int64_t t, int v, vfloat product) {
            const int bit = v * kLanes;
            const unsigned above = lane_bits(product > load(lanes_.thresholds.data() + bit));
            hashes_[std::size_t(t) * words_ + bit / 32] |= std::uint32_t(above) << bit % 32;
        });
    }

    std::uint32_t cell(std::int64_t row, int rep) const {
        const int bit = rep * bits_;
        const std::uint32_t* words = hashes_.data() + std::size_t(row) * words_ + bit / 32;
        const std::uint64_t both = std::uint64_t(words[1]) << 32 | words[0];
        return std::uint32_t(both >> bit % 32) & ((1u << bits_) - 1);
    }

   private:
    int dim_, bits_;
    const FdeLanes& lanes_;
    std::size_t words_;
    std::vector<std::uint32_t> hashes_;
};

// to[k] = scale * the sum of weights[t] * vectors[t * dim + k] over `count` vectors t, in order; without kWeighted, the
// weights are ones. Sums stay in registers while the vectors pass by.
template <bool kWeighted>
inline void sum_vectors(const float* vectors, const float* weights, const std::int32_t* numbers, int count, float scale,
                        int dim, float* to) {
    constexpr int kVectors = 8, kPiece = kVectors * kLanes;
    int k = 0;
    for (; k + kPiece <= dim; k += kPiece) {
        vfloat sums[kVectors] = {};
        for (int i = 0; i < count; ++i) {
            const float* from = vectors + std::int64_t(numbers[i]) * dim + k;
            for (int v = 0; v < kVectors; ++v) {
                const vfloat x = load(from + v * kLanes);
                sums[v] += kWeighted ? splat(weights[numbers[i]]) * x : x;
            }
        }
        for (int v = 0; v < kVectors; ++v) store(to + k + v * kLanes, splat(scale) * sums[v]);
    }
    for (; k < dim; ++k) {
        float sum = 0;
        for (int i = 0; i < count; ++i) {
            const float x = vectors[std::int64_t(numbers[i]) * dim + k];
            sum += kWeighted ? weights[numbers[i]] * x : x;
        }
        to[k] = scale * sum;
    }
}

// One thread's memory for encoding documents of up to `longest` vectors, one at a time; allocated before it starts.
class FdeWorker {
   public:
    FdeWorker(const Fde& fde, const FdeLanes& lanes, std::int64_t longest)
        : fde_(fde), lanes_(lanes), multiplier_(fde.dim), hash_(fde, lanes, longest),
          ends_(std::size_t(fde.cells())), row_of_(std::size_t(fde.cells())),
          nearest_(fde.fill ? std::size_t(fde.cells()) : 0), cell_of_(std::size_t(longest)),
          order_(std::size_t(longest)), sums_(std::size_t(std::min(fde.cells(), longest)) * std::size_t(fde.dim)) {
        if (fde.fill && longest >= kStep) throw std::invalid_argument("a document has 2^27 vectors or more");
        const auto rows = std::size_t(std::min(fde.cells(), 2 * longest));
        rows_.reserve(rows);
        cells_.reserve(std::size_t(std::min(fde.cells(), longest)));
        if (fde.projections) projected_.reserve(rows * std::size_t(lanes.projections[0].vectors()) * kLanes);
    }

    // `weights` (or null) multiply the vectors, but not what their cells depend on.
    void encode(const float* vectors, const float* weights, std::int64_t count, float* out) {
        std::fill_n(out, fde_.size, 0.0f);
        if (count == 0) return;
        hash_.compute(multiplier_, vectors, count);
        for (int rep = 0; rep < fde_.reps; ++rep) {
            gather(rep, std::int32_t(count));
            add_up(vectors, weights);
            if (fde_.fill) fill(vectors);
            project(rep);
            write(rep, out);
        }
    }

   private:
    static constexpr std::uint32_t kStep = 1u << 27;  // a bit of distance outweighs any vector's number
    static constexpr std::uint32_t kEmpty = 30 * kStep;  // more than any distance: a cell's number has 24 bits at most

    // A cell with vectors: those of order_ from `begin` on; `alone` is the row of only the first of them, or -1.
    struct Cell {
        std::int32_t begin, count;
        int alone;
    };

    // The cells with vectors, which have the first rows; and the vectors in order_, cell after cell, in order.
    void gather(int rep, std::int32_t count) {
        std::fill(ends_.begin(), ends_.end(), 0);
        for (std::int32_t t = 0; t < count; ++t) {
            cell_of_[std::size_t(t)] = hash_.cell(t, rep);
            ++ends_[cell_of_[std::size_t(t)]];
        }
        cells_.clear();
        std::int32_t begin = 0;
        for (std::size_t c = 0; c < ends_.size(); ++c) {
            const std::int32_t size = ends_[c];
            row_of_[c] = size > 0 ? int(cells_.size()) : -1;
            if (size > 0) cells_.push_back({begin, size, -1});
            ends_[c] = begin;  // for now, where its next vector goes
            begin += size;
        }
        for (std::int32_t t = 0; t < count; ++t) order_[std::size_t(ends_[cell_of_[std::size_t(t)]]++)] = t;
    }

    // The row of each cell with vectors: their sum or mean, or the only one of them where it lies.
    void add_up(const float* vectors, const float* weights) {
        rows_.clear();
        float* next = sums_.data();
        for (Cell& cell : cells_) {
            const std::int32_t* numbers = order_.data() + cell.begin;
            if (cell.count == 1) cell.alone = int(rows_.size());
            if (cell.count == 1 && weights == nullptr) {
                rows_.push_back(vectors + std::int64_t(numbers[0]) * fde_.dim);
                continue;
            }
            const float scale = fde_.mean ? 1.0f / float(cell.count) : 1.0f;
            const auto sum = weights ? sum_vectors<true> : sum_vectors<false>;
            sum(vectors, weights, numbers, cell.count, scale, fde_.dim, next);
            rows_.push_back(next);
            next += fde_.dim;
        }
    }

    // Each empty cell gets the row of one vector: distances and numbers as one, which the smallest of two decides.
    void fill(const float* vectors) {
        const std::size_t cells = row_of_.size();
        for (std::size_t c = 0; c < cells; ++c)
            nearest_[c] = row_of_[c] < 0 ? kEmpty : std::uint32_t(first_of(cells_[std::size_t(row_of_[c])]));
        for (std::size_t bit = 1; bit < cells; bit *= 2)
            for (std::size_t begin = 0; begin < cells; begin += 2 * bit)
                for (std::size_t c = begin; c < begin + bit; ++c) {
                    const std::uint32_t without = nearest_[c], with = nearest_[c + bit];
                    nearest_[c] = std::min(without, with + kStep);
                    nearest_[c + bit] = std::min(with, without + kStep);
                }
        for (std::size_t c = 0; c < cells; ++c) {
            if (nearest_[c] < kStep) continue;  // it has vectors
            const std::uint32_t first = nearest_[c] % kStep;
            Cell& cell = cells_[std::size_t(row_of_[cell_of_[first]])];
            if (cell.alone < 0) {
                cell.alone = int(rows_.size());
                rows_.push_back(vectors + std::int64_t(first) * fde_.dim);
            }
            row_of_[c] = cell.alone;
        }
    }

    std::int32_t first_of(const Cell& cell) const { return order_[std::size_t(cell.begin)]; }

    void project(int rep) {
        if (!fde_.projections) return;
        const QueryLanes& lanes = lanes_.projections[std::size_t(rep)];
        const std::size_t stride = std::size_t(lanes.vectors()) * kLanes;
        projected_.resize(rows_.size() * stride);
        const auto row = [this](std::int64_t r) { return rows_[std::size_t(r)]; };
        multiplier_.multiply(std::int64_t(rows_.size()), lanes, row, [&](std::int64_t r, int v, vfloat product) {
            store(projected_.data() + std::size_t(r) * stride + std::size_t(v) * kLanes, product);
        });
    }

    void write(int rep, float* out) const {
        const std::size_t stride = fde_.projections ? lanes_.projections[std::size_t(rep)].vectors() * kLanes : 0;
        for (std::size_t c = 0; c < row_of_.size(); ++c) {
            if (row_of_[c] < 0) continue;
            const auto r = std::size_t(row_of_[c]);
            const float* from = fde_.projections ? projected_.data() + r * stride : rows_[r];
            const std::size_t place = (std::size_t(rep) * row_of_.size() + c) * fde_.width;
            if (!fde_.places) {
                widen(from, fde_.width, out + place);
                continue;
            }
            for (int k = 0; k < fde_.width; ++k) out[fde_.places[place + k]] += fde_.signs[place + k] * from[k];
        }
    }

    const Fde& fde_;
    const FdeLanes& lanes_;
    Multiplier multiplier_;
    SimHash hash_;
    std::vector<std::int32_t> ends_;
    std::vector<int> row_of_;  // of each cell; -1: none
    std::vector<std::uint32_t> nearest_;  // distance and number of each cell's nearest vector
    std::vector<std::uint32_t> cell_of_;  // of each vector
    std::vector<std::int32_t> order_;
    std::vector<Cell> cells_;
    std::vector<const float*> rows_;  // of the cells with vectors, then of vectors that fill cells
    Buffer<float> sums_;
    std::vector<float> projected_;
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
