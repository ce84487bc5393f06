// Cache-line aligned memory for vectors.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>

namespace lir {

// Zeroed memory of a fixed size.
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

// Memory that one piece of work leaves to the next, as large as the largest of them needs: fresh pages cost more than
// many a kernel takes. What it holds at first means nothing.
template <typename T>
class Room {
   public:
    T* of(std::size_t size) {
        if (!buffer_ || size > size_) {
            buffer_ = std::make_unique<Buffer<T>>(size);
            size_ = size;
        }
        return buffer_->data();
    }

   private:
    std::unique_ptr<Buffer<T>> buffer_;
    std::size_t size_ = 0;
};

}  // namespace lir
