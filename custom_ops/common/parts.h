// Parts of tensors that a task works on as float32. In half precision a task converts its own part and nothing
// else, so that no tensor is there in float32 too. A part is some rows of `width` numbers, `step` apart (backwards
// where that is negative).
#ifndef KDET_COMMON_PARTS_H_
#define KDET_COMMON_PARTS_H_

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "common/floats.h"
#include "common/instruction_set.h"

namespace kdet {
inline namespace KDET_ISA {

// Parts per thread into which an output that is summed up is split at least. In half precision those that are
// worked on at a time are then half as large as the output.
template <typename T>
constexpr int kPartsPerThread = std::is_same_v<T, float> ? 1 : 4;

// A part of an input: there itself, or converted.
template <typename T>
class FloatPart {
 public:
  void read(const T* from, int64_t rows, int64_t width, int64_t step) {
    if constexpr (std::is_same_v<T, float>) {
      floats_ = from;
      step_ = step;
    } else {
      own_.resize(rows * width);
      for (int64_t r = 0; r < rows; ++r) as_floats(from + r * step, width, own_.data() + r * width);
      floats_ = own_.data();
      step_ = width;
    }
  }
  const float* row(int64_t r) const { return floats_ + r * step_; }
  int64_t step() const { return step_; }

 private:
  const float* floats_ = nullptr;
  int64_t step_ = 0;
  std::vector<float> own_;
};

// A part of an output that is summed up: 0 at first, in place or in memory that `finish` rounds into the output.
template <typename T>
class SummedPart {
 public:
  void start(T* out, int64_t rows, int64_t width, int64_t step) {
    out_ = out;
    rows_ = rows;
    width_ = width;
    out_step_ = step;
    if constexpr (std::is_same_v<T, float>) {
      each_run([&](int64_t r, int64_t count) { std::memset(out + r * step, 0, count * sizeof(float)); });
      floats_ = out;
      step_ = step;
    } else {
      own_.assign(rows * width, 0.0f);
      floats_ = own_.data();
      step_ = width;
    }
  }
  float* row(int64_t r) const { return floats_ + r * step_; }
  int64_t step() const { return step_; }
  void finish() const {
    each_run([&](int64_t r, int64_t count) { finish_floats(row(r), count, out_ + r * out_step_); });
  }

 private:
  // visit(row, count of numbers): rows that touch each other are taken as one.
  template <typename Visit>
  void each_run(const Visit& visit) const {
    if (out_step_ == width_) return visit(0, rows_ * width_);
    for (int64_t r = 0; r < rows_; ++r) visit(r, width_);
  }

  T* out_ = nullptr;
  int64_t rows_ = 0, width_ = 0, out_step_ = 0;
  float* floats_ = nullptr;
  int64_t step_ = 0;
  std::vector<float> own_;
};

}  // namespace KDET_ISA
}  // namespace kdet

#endif  // KDET_COMMON_PARTS_H_
