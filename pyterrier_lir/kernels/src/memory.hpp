// Zeroed, cache-line aligned memory for vectors.
#pragma once

#include <cstddef>
#include <cstring>
#include <new>

namespace lir {

template <typename T>
class Buffer {
   public:
    explicit Buffer(std::size_t size)
        : data_(static_cast<T*>(::operator new(size * sizeof(T), std::align_val_t(kAlignment)))) {
        std::memset(static_cast<void*>(data_), 0, size * sizeof(T));
    }
    ~Buffer() { ::operator delete(data_, std::align_val_t(kAlignment)); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    T* data() { return data_; }
    const T* data() const { return data_; }

   private:
    static constexpr std::size_t kAlignment = 64;
    T* data_;
};

}  // namespace lir
