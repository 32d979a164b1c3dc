// Fast NMS on CUDA: one block per class finds and thins out its candidates, then one per picture ranks them.
#include "common/best.h"
#include "fast_nms/fast_nms_cuda.h"

namespace kdet {
namespace {

// The best of count scores that comes after `last` in the order of `Best`.
template <typename Score>
__device__ Best next_best(int64_t count, const Best& last, const Score& score_of) {
  Best mine = nobody();
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) {
    const float score = score_of(i);
    const bool after = last.index < 0 || score < last.score || (score == last.score && i > last.index);
    if (score > -INFINITY && after && mine.loses_to(score, i)) mine = {score, i};
  }
  return best_of_block(mine);
}

// left: the scores of a class's best boxes in order, -infinity where a better box drops one.
__global__ void class_kernel(FastNms p, const float* boxes, const float* scores, int* chosen, float* left) {
  __shared__ int hits;
  const int64_t picture = blockIdx.x / p.classes, label = blockIdx.x % p.classes;
  boxes += 4 * picture * p.boxes;
  scores += picture * p.boxes * p.classes + label;
  chosen += blockIdx.x * p.top_k;
  left += blockIdx.x * p.top_k;
  Best last = nobody();
  for (int64_t rank = 0; rank < p.top_k; ++rank) {
    last = next_best(p.boxes, last, [&](int64_t i) {
      const float score = scores[i * p.classes];
      return score > p.score_threshold ? score : -INFINITY;
    });
    if (last.index < 0) {
      for (int64_t k = rank + threadIdx.x; k < p.top_k; k += blockDim.x) left[k] = -INFINITY;
      return;
    }
    if (threadIdx.x == 0) {
      chosen[rank] = int(last.index);
      hits = 0;
    }
    __syncthreads();
    for (int64_t k = threadIdx.x; k < rank; k += blockDim.x) {
      const float overlap = box_iou(boxes + 4 * chosen[k], boxes + 4 * last.index, kLeastUnion);
      if (overlap > p.iou_threshold) atomicAdd(&hits, 1);
    }
    __syncthreads();
    if (threadIdx.x == 0) left[rank] = hits ? -INFINITY : last.score;
  }
}

__global__ void picture_kernel(FastNms p, const int* chosen, const float* left, int* indices, int* labels,
                               float* kept, int* counts) {
  const int64_t picture = blockIdx.x, places = p.classes * p.top_k, to = picture * p.max_output;
  chosen += picture * places;
  left += picture * places;
  Best last = nobody();
  int64_t count = 0;
  for (; count < p.max_output; ++count) {
    last = next_best(places, last, [&](int64_t place) { return left[place]; });
    if (last.index < 0) break;
    if (threadIdx.x == 0) {
      indices[to + count] = chosen[last.index];
      labels[to + count] = int(last.index / p.top_k);
      kept[to + count] = last.score;
    }
  }
  for (int64_t k = count + threadIdx.x; k < p.max_output; k += blockDim.x) {
    indices[to + k] = labels[to + k] = 0;
    kept[to + k] = 0;
  }
  if (threadIdx.x == 0) counts[picture] = int(count);
}

}  // namespace
}  // namespace kdet

extern "C" cudaError_t kdet_cuda_fast_nms(const kdet::FastNms* p, const float* boxes, const float* scores,
                                          int* chosen, float* left, int* indices, int* labels, float* kept,
                                          int* counts, cudaStream_t stream) {
  if (p->batch == 0) return cudaSuccess;
  if (p->classes > 0) {
    kdet::class_kernel<<<int(p->batch * p->classes), kdet::kThreads, 0, stream>>>(*p, boxes, scores, chosen, left);
  }
  kdet::picture_kernel<<<int(p->batch), kdet::kThreads, 0, stream>>>(*p, chosen, left, indices, labels, kept, counts);
  return cudaGetLastError();
}
