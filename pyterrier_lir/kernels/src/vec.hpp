// Vectors of floats whose width follows the instruction set this file is compiled for.
//
// GCC keeps vector types in registers where it spills plain arrays, but lowers them for the instruction set of
// the whole file: function multi-versioning does not work with them, and a vector wider than the machine's
// registers is slow. So the same sources are compiled once per instruction set, as separate modules.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace lir {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

constexpr int kLanes = kVectorBytes / 4;

// How many registers a kernel may fill with accumulators: 24 of 32, or 12 of 16.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kAccumulators = 24;
#else
constexpr int kAccumulators = 12;
#endif

typedef float vfloat __attribute__((vector_size(kVectorBytes)));
typedef std::int32_t vint __attribute__((vector_size(kVectorBytes)));
typedef std::uint32_t vuint __attribute__((vector_size(kVectorBytes)));
typedef std::uint16_t vhalf __attribute__((vector_size(kVectorBytes / 2)));

inline vfloat load(const float* from) {
    vfloat x;
    std::memcpy(&x, from, sizeof x);
    return x;
}

inline vint load(const std::int32_t* from) {
    vint x;
    std::memcpy(&x, from, sizeof x);
    return x;
}

inline void store(float* to, vfloat x) { std::memcpy(to, &x, sizeof x); }
inline void store(std::int32_t* to, vint x) { std::memcpy(to, &x, sizeof x); }

// 0, 1, 2, ...
inline vint lane_numbers() {
    vint x;
    for (int i = 0; i < kLanes; ++i) x[i] = i;
    return x;
}

inline vfloat splat(float x) {
#if defined(__AVX512F__)
    return _mm512_set1_ps(x);
#elif defined(__AVX2__)
    return _mm256_set1_ps(x);
#elif defined(__x86_64__)
    return _mm_set1_ps(x);
#elif defined(__aarch64__)
    return vdupq_n_f32(x);
#else
    return x - vfloat{};
#endif
}

inline vint splat(std::int32_t x) {
#if defined(__AVX512F__)
    return vint(_mm512_set1_epi32(x));
#elif defined(__AVX2__)
    return vint(_mm256_set1_epi32(x));
#elif defined(__x86_64__)
    return vint(_mm_set1_epi32(x));
#else
    return x - vint{};
#endif
}

// 16 bytes, again and again.
inline vuint repeat16(const std::uint8_t* from) {
    vuint bytes = {};
    for (int k = 0; k < kVectorBytes; k += 16) std::memcpy(reinterpret_cast<std::uint8_t*>(&bytes) + k, from, 16);
    return bytes;
}

// table[x] of every byte x, which must be below 16; the table is repeated as repeat16 does.
inline vuint look_up(vuint table, vuint x) {
#if defined(__AVX512BW__)
    return vuint(_mm512_shuffle_epi8(__m512i(table), __m512i(x)));
#elif defined(__AVX2__)
    return vuint(_mm256_shuffle_epi8(__m256i(table), __m256i(x)));
#elif defined(__SSSE3__)
    return vuint(_mm_shuffle_epi8(__m128i(table), __m128i(x)));
#elif defined(__aarch64__)
    return vuint(vqtbl1q_u8(uint8x16_t(table), uint8x16_t(x)));
#else
    std::uint8_t entries[kVectorBytes], bytes[kVectorBytes];
    std::memcpy(entries, &table, sizeof table);
    std::memcpy(bytes, &x, sizeof x);
    for (std::uint8_t& byte : bytes) byte = entries[byte];
    std::memcpy(&x, bytes, sizeof x);
    return x;
#endif
}

inline vfloat to_float(vint x) { return __builtin_convertvector(x, vfloat); }

// Without the fraction.
inline vint to_int(vfloat x) { return __builtin_convertvector(x, vint); }

// Whole numbers of 0 to 255 as bytes. GCC would take them one by one.
inline void narrow16(const std::int32_t* from, std::uint8_t* to) {
#if defined(__AVX512F__)
    const __m128i bytes = _mm512_cvtepi32_epi8(_mm512_loadu_si512(from));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
#elif defined(__x86_64__)
    const auto* four = reinterpret_cast<const __m128i*>(from);
    const __m128i low = _mm_packs_epi32(_mm_loadu_si128(four), _mm_loadu_si128(four + 1));
    const __m128i high = _mm_packs_epi32(_mm_loadu_si128(four + 2), _mm_loadu_si128(four + 3));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(low, high));
#else
    for (int i = 0; i < 16; ++i) to[i] = std::uint8_t(from[i]);
#endif
}

// a * b + c, rounded once where the instruction set can. The compiler fuses nothing by itself
// (-ffp-contract=off), so all builds that have this instruction agree bit for bit.
inline vfloat fmadd(vfloat a, vfloat b, vfloat c) {
#if defined(__AVX512F__)
    return _mm512_fmadd_ps(a, b, c);
#elif defined(__AVX2__) && defined(__FMA__)
    return _mm256_fmadd_ps(a, b, c);
#elif defined(__aarch64__)
    return vfmaq_f32(c, a, b);
#else
    return a * b + c;
#endif
}

inline vfloat maximum(vfloat a, vfloat b) { return a > b ? a : b; }

// The lanes of a comparison as bits: bit i is set if lane i is.
inline unsigned lane_bits(vint mask) {
#if defined(__AVX512DQ__)
    return unsigned(_mm512_movepi32_mask(__m512i(mask)));
#elif defined(__AVX2__)
    return unsigned(_mm256_movemask_ps(__m256(mask)));
#elif defined(__x86_64__)
    return unsigned(_mm_movemask_ps(__m128(mask)));
#else
    unsigned bits = 0;
    for (int i = 0; i < kLanes; ++i) bits |= unsigned(mask[i] < 0) << i;
    return bits;
#endif
}

// kLanes half-precision numbers as floats; exact.
inline vfloat load_half(const std::uint16_t* from) {
#if defined(__AVX512F__)
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#elif defined(__AVX2__) && defined(__F16C__)
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#elif defined(__aarch64__)
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from)));
#else
    vhalf narrow;
    std::memcpy(&narrow, from, sizeof narrow);
    const vuint half = __builtin_convertvector(narrow, vuint);
    const vuint exponent = half & 0x7c00u;
    // Move exponent and mantissa into place and correct the exponent's bias (15 to 127).
    vuint bits = ((half & 0x7fffu) << 13) + (112u << 23);
    // Infinities and NaNs have the largest exponent in both formats.
    bits += (exponent == 0x7c00u) ? vuint{} + (112u << 23) : vuint{};
    // Numbers below 2^-14 (and zero) have no implicit leading 1: add it, then subtract it as a float.
    const vuint small = bits + (1u << 23);
    const vfloat subnormal = reinterpret_cast<vfloat>(small) - 0x1p-14f;
    bits = (exponent == 0u) ? reinterpret_cast<vuint>(subnormal) : bits;
    return reinterpret_cast<vfloat>(bits | ((half & 0x8000u) << 16));
#endif
}

}  // namespace lir
