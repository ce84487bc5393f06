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
          row_of_(std::size_t(fde.cells())), vector_row_(std::size_t(longest)), order_(std::size_t(longest)),
          rows_(std::size_t(std::min(fde.cells(), 2 * longest)) * std::size_t(fde.dim)),  // one for each cell at most
          nearest_(fde.fill ? std::size_t(fde.cells()) : 0) {
        const std::size_t rows = std::size_t(std::min(fde.cells(), 2 * longest));
        cells_.reserve(rows);
        if (fde.projections) projected_.reserve(rows * std::size_t(lanes.projections[0].vectors()) * kLanes);
    }

    // `weights` (or null) multiply the vectors, but not what their cells depend on.
    void encode(const float* vectors, const float* weights, std::int64_t count, float* out) {
        std::fill_n(out, fde_.size, 0.0f);
        if (count == 0) return;
        hash_.compute(multiplier_, vectors, count);
        for (int rep = 0; rep < fde_.reps; ++rep) {
            gather(rep, count);
            add_up(vectors, weights);
            if (fde_.fill) fill(rep, vectors);
            project(rep);
            write(rep, out);
        }
    }

   private:
    // A cell with vectors: the number of the first one, and how many there are; `alone` is the row of only the first.
    struct Cell {
        std::int32_t first, count, end;
        int alone;
    };

    float* row(int number) { return rows_.data() + std::size_t(number) * std::size_t(fde_.dim); }

    // The cells with vectors, each with a row; and the vectors in order_, cell after cell, in order.
    void gather(int rep, std::int64_t count) {
        cells_.clear();
        std::fill(row_of_.begin(), row_of_.end(), -1);
        for (std::int32_t t = 0; t < count; ++t) {
            int& row = row_of_[hash_.cell(t, rep)];
            if (row < 0) {
                row = int(cells_.size());
                cells_.push_back({t, 0, 0, -1});
            }
            vector_row_[std::size_t(t)] = row;
            ++cells_[std::size_t(row)].count;
        }
        std::int32_t end = 0;
        for (Cell& cell : cells_) {
            cell.end = end;
            end += cell.count;
        }
        for (std::int32_t t = 0; t < count; ++t)
            order_[std::size_t(cells_[std::size_t(vector_row_[std::size_t(t)])].end++)] = t;
        num_rows_ = int(cells_.size());
    }

    void add_up(const float* vectors, const float* weights) {
        for (int r = 0; r < int(cells_.size()); ++r) {
            Cell& cell = cells_[std::size_t(r)];
            const std::int32_t* numbers = order_.data() + cell.end - cell.count;
            const float scale = fde_.mean ? 1.0f / float(cell.count) : 1.0f;
            const auto sum = weights ? sum_vectors<true> : sum_vectors<false>;
            sum(vectors, weights, numbers, cell.count, scale, fde_.dim, row(r));
            if (cell.count == 1) cell.alone = r;
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
            if (cell.alone < 0) {
                cell.alone = num_rows_++;
                std::copy_n(vectors + first * fde_.dim, fde_.dim, row(cell.alone));
            }
            row_of_[c] = cell.alone;
        }
    }

    void project(int rep) {
        if (!fde_.projections) return;
        const QueryLanes& lanes = lanes_.projections[std::size_t(rep)];
        const std::size_t stride = std::size_t(lanes.vectors()) * kLanes;
        projected_.resize(std::size_t(num_rows_) * stride);
        multiplier_.multiply(rows_.data(), num_rows_, lanes, [&](std::int64_t row, int v, vfloat product) {
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
    std::vector<int> row_of_;  // of each cell; -1: none
    std::vector<int> vector_row_;
    std::vector<std::int32_t> order_;
    std::vector<Cell> cells_;  // whose sums are the first rows; vectors that fill cells follow
    int num_rows_ = 0;
    Buffer<float> rows_;
    std::vector<float> projected_;
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
