// Residuals of token vectors as packed levels.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

#include "codes.hpp"
#include "maxsim.hpp"
#include "memory.hpp"
#include "packed.hpp"
#include "parallel.hpp"
#include "vec.hpp"

namespace lir {

// Level l of dimension k stands for lo[k] + l * step[k].
struct Levels {
    const float* step;
    const float* lo;
    int dim, nbits;
};

// One thread's memory; the dimensions are rounded up to a multiple of 16.
template <typename Number>
class ResidualEncoder {
   public:
    explicit ResidualEncoder(const Levels& levels)
        : levels_(levels),
          padded_((levels.dim + 15) / 16 * 16),
          x_(std::size_t(padded_)),
          centroid_(std::size_t(padded_)),
          step_(std::size_t(padded_)),
          lo_(std::size_t(padded_)),
          decoded_(std::size_t(padded_)),
          whole_(std::size_t(padded_)),
          bytes_(std::size_t(padded_)) {
        std::fill_n(step_.data(), padded_, 1.0f);
        std::copy_n(levels.step, levels.dim, step_.data());
        std::copy_n(levels.lo, levels.dim, lo_.data());
    }

    // Returns the norm of what the packed levels stand for.
    float encode(const Number* x, const float* centroid, std::uint8_t* packed) {
        widen(x, levels_.dim, x_.data());
        std::copy_n(centroid, levels_.dim, centroid_.data());
        for (int k = 0; k < padded_; k += kLanes) round(k);
        for (int k = 0; k < padded_; k += 16) narrow16(whole_.data() + k, bytes_.data() + k);
        pack_row(bytes_.data(), levels_.dim, levels_.nbits, packed);
        double sum = 0;
        for (int k = 0; k < levels_.dim; ++k) sum += double(decoded_.data()[k]) * double(decoded_.data()[k]);
        return float(std::sqrt(sum));
    }

   private:
    void round(int k) {
        const vfloat near = load(centroid_.data() + k), lo = load(lo_.data() + k), step = load(step_.data() + k);
        const float top = float((1 << levels_.nbits) - 1);
        vfloat level = (load(x_.data() + k) - near - lo) / step;
        level = level > 0.0f ? level : splat(0.0f);
        level = level < top ? level : splat(top);
        // From 2^23 on, floats are whole numbers: the addition rounds, halves to even.
        level = (level + 0x1p23f) - 0x1p23f;
        store(decoded_.data() + k, (near + lo) + level * step);
        store(whole_.data() + k, to_int(level));
    }

    const Levels& levels_;
    int padded_;
    Buffer<float> x_, centroid_, step_, lo_, decoded_;
    Buffer<std::int32_t> whole_;
    Buffer<std::uint8_t> bytes_;
};

template <typename Number>
void encode_residuals(const Number* x, std::int64_t rows, const float* centroids, const Codes<std::int32_t>& codes,
                      const Levels& levels, int num_threads, std::uint8_t* packed, float* norms) {
    for (std::int64_t r = 0; r < rows; ++r)
        if (!codes.exists(r)) codes.refuse(r);
    const std::int64_t piece = 1024, pieces = (rows + piece - 1) / piece;
    const int width = packed_width(levels.dim, levels.nbits);
    num_threads = int(std::min<std::int64_t>(num_threads, pieces));
    std::vector<std::unique_ptr<ResidualEncoder<Number>>> workers;
    for (int i = 0; i < num_threads; ++i) workers.push_back(std::make_unique<ResidualEncoder<Number>>(levels));
    parallel_for(num_threads, pieces, [&](int worker, std::int64_t i) {
        for (std::int64_t r = i * piece; r < std::min(rows, (i + 1) * piece); ++r)
            norms[r] = workers[std::size_t(worker)]->encode(x + r * levels.dim, centroids + codes[r] * levels.dim,
                                                            packed + r * width);
    });
}

}  // namespace lir
