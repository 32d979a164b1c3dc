// NMS and soft-NMS on CUDA. NMS ranks the boxes by counting, keeps the best of each class in a block of its own, and
// collects an image's kept boxes by rank. Soft-NMS: one block per image takes the best box again and again.
#include "common/best.h"
#include "common/running_sum.h"
#include "nms/nms_cuda.h"

namespace kdet {
namespace {

struct alignas(16) Box {
  float corner[4];
};

// What NMS reads, and the scratch that a kernel leaves to the next: one entry per box, image after image.
struct Candidates {
  const float *boxes, *scores;
  const int* labels;
  int* order;    // an image's boxes by label, of a label by score
  int* ranks;    // by score, of all of an image
  int* winners;  // by rank: the box if it is kept, else -1
  Box* kept;     // those of a class, from the place on where it starts in `order`

  __device__ Candidates from(int64_t first) const {
    return {boxes + 4 * first, scores + first,  labels + first, order + first,
            ranks + first,     winners + first, kept + first};
  }
};

constexpr int kRanked = 32;  // boxes of a block of rank_kernel: a warp reads the same rival
constexpr int kStarts = 64;  // places of a block of class_kernel, which has the classes that start there
constexpr int kTile = 256;   // candidates of a class at a time
constexpr int kWords = kTile / 32;

// Ranks and places are permutations: a box that is no candidate has the lowest score.
__global__ void rank_kernel(Nms p, Candidates all) {
  struct alignas(8) Rival {
    float score;
    int label;
  };
  __shared__ Rival rivals[kThreads];
  __shared__ int rank[kRanked], place[kRanked];
  const int boxes = int(p.boxes), blocks = (boxes + kRanked - 1) / kRanked, lane = threadIdx.x % kRanked;
  const Candidates c = all.from(blockIdx.x / blocks * p.boxes);
  const int own = blockIdx.x % blocks * kRanked + lane;
  const auto score_of = [&](int i) { return c.scores[i] > p.score_threshold ? c.scores[i] : -INFINITY; };
  const float own_score = own < boxes ? score_of(own) : -INFINITY;
  const int own_label = own < boxes ? c.labels[own] : 0;
  if (threadIdx.x < kRanked) rank[lane] = place[lane] = 0;
  int better = 0, before = 0;
  for (int tile = 0; tile < boxes; tile += kThreads) {
    const int size = min(kThreads, boxes - tile);
    __syncthreads();  // the tile before has been read
    if (threadIdx.x < size) {
      rivals[threadIdx.x] = {score_of(tile + threadIdx.x), c.labels[tile + threadIdx.x]};
    }
    __syncthreads();
    for (int k = threadIdx.x / kRanked; k < size; k += kThreads / kRanked) {
      const Rival rival = rivals[k];
      const bool wins = (rival.score > own_score) | ((rival.score == own_score) & (tile + k < own));
      better += wins;
      before += (rival.label < own_label) | ((rival.label == own_label) & wins);
    }
  }
  atomicAdd(&rank[lane], better);
  atomicAdd(&place[lane], before);
  __syncthreads();
  if (threadIdx.x < kRanked && own < boxes) {
    c.order[place[lane]] = own;
    c.ranks[own] = rank[lane];
    c.winners[rank[lane]] = -1;
  }
}

// Keeps the best boxes of the class that starts at that place of an image's order, as many as the output takes.
// All threads of a block of kWideBlock must call it.
__device__ void keep_best(const Nms& p, const Candidates& c, int start) {
  __shared__ Box box[kTile];
  __shared__ int index[kTile];  // -1: no candidate
  // One bit per candidate of the tile. Better ones that a candidate overlaps are word by word in its column.
  __shared__ uint32_t overlapped[kWords][kTile], open[kWords], taken[kWords];
  const int boxes = int(p.boxes), own = threadIdx.x % kTile, slice = threadIdx.x / kTile, slices = kWideBlock / kTile;
  const int word = own / 32, label = c.labels[c.order[start]];
  const uint32_t bit = 1u << own % 32;
  Box* kept = c.kept + start;
  int count = 0;
  for (int tile = start;; tile += kTile) {
    __syncthreads();  // the tile before is done
    if (threadIdx.x < kWords) open[threadIdx.x] = taken[threadIdx.x] = 0;
    __syncthreads();
    if (slice == 0) {
      const int i = tile + own < boxes ? c.order[tile + own] : -1;
      const bool candidate = i >= 0 && c.labels[i] == label && c.scores[i] > p.score_threshold;
      index[own] = candidate ? i : -1;
      if (candidate) {
        for (int k = 0; k < 4; ++k) box[own].corner[k] = c.boxes[4 * int64_t(i) + k];
        atomicOr(&open[word], bit);
      }
    }
    __syncthreads();
    const Box mine = box[own];
    for (int k = slice; k < count && index[own] >= 0; k += slices) {
      const Box rival = kept[k];
      if (!iou_exceeds(rival.corner, mine.corner, p.iou_threshold)) continue;
      atomicAnd(&open[word], ~bit);
      break;
    }
    __syncthreads();
    for (int w = slice; w < kWords; w += slices) {
      uint32_t bits = 0;
      const int end = open[word] & bit ? min(own - 32 * w, 32) : 0;
      for (int k = 0; k < end; ++k) {
        if (!(open[w] >> k & 1)) continue;
        const Box rival = box[32 * w + k];
        if (iou_exceeds(rival.corner, mine.corner, p.iou_threshold)) bits |= 1u << k;
      }
      overlapped[w][own] = bits;
    }
    __syncthreads();
    // All that depend on none that is still open are settled at once. The first open one always is.
    while (true) {
      uint32_t any = 0, waits = 0, loses = 0;
      for (int w = 0; w < kWords; ++w) {
        any |= open[w];
        waits |= open[w] & overlapped[w][own];
        loses |= taken[w] & overlapped[w][own];
      }
      const bool settled = slice == 0 && open[word] & bit && (loses || !waits);
      __syncthreads();
      if (!any) break;
      if (settled) {
        atomicAnd(&open[word], ~bit);
        if (!loses) atomicOr(&taken[word], bit);
      }
      __syncthreads();
    }
    int place = count;
    for (int w = 0; w < kWords; ++w) {
      if (w <= word) place += __popc(w < word ? taken[w] : taken[w] & (bit - 1));
      count += __popc(taken[w]);
    }
    if (slice == 0 && taken[word] & bit) {
      kept[place] = mine;
      c.winners[c.ranks[index[own]]] = index[own];
    }
    if (count >= p.max_output || index[kTile - 1] < 0) return;
  }
}

__global__ void __launch_bounds__(kWideBlock) class_kernel(Nms p, Candidates all) {
  __shared__ bool starts[kStarts];
  const int boxes = int(p.boxes), blocks = (boxes + kStarts - 1) / kStarts;
  const Candidates c = all.from(blockIdx.x / blocks * p.boxes);
  const int first = blockIdx.x % blocks * kStarts, own = first + int(threadIdx.x);
  if (threadIdx.x < kStarts) {
    starts[threadIdx.x] = own < boxes && (own == 0 || c.labels[c.order[own]] != c.labels[c.order[own - 1]]);
  }
  __syncthreads();
  for (int k = 0; k < kStarts; ++k) {
    if (starts[k]) keep_best(p, c, first + k);
  }
}

__global__ void __launch_bounds__(kWideBlock) collect_kernel(Nms p, const int* winners, int* indices, int* counts) {
  const int boxes = int(p.boxes);
  winners += blockIdx.x * p.boxes;
  indices += blockIdx.x * p.max_output;
  int64_t count = 0;
  for (int tile = 0; tile < boxes && count < p.max_output; tile += kWideBlock) {
    const int rank = tile + int(threadIdx.x), winner = rank < boxes ? winners[rank] : -1;
    int total;
    const int64_t place = count + running_sum(winner >= 0, &total) - 1;
    if (winner >= 0 && place < p.max_output) indices[place] = winner;
    count = min(count + total, p.max_output);
  }
  for (int64_t k = count + threadIdx.x; k < p.max_output; k += kWideBlock) indices[k] = 0;
  if (threadIdx.x == 0) counts[blockIdx.x] = int(count);
}

__global__ void soft_nms_kernel(SoftNms p, const float* boxes, const float* scores, float* live, int* indices,
                                float* kept, int* counts) {
  boxes += 4 * p.boxes * blockIdx.x;
  scores += blockIdx.x * p.boxes;
  live += blockIdx.x * p.boxes;  // the scores of the boxes that are not gone, else -infinity
  indices += blockIdx.x * p.max_output;
  kept += blockIdx.x * p.max_output;
  for (int64_t i = threadIdx.x; i < p.boxes; i += blockDim.x) live[i] = scores[i];
  for (int64_t k = threadIdx.x; k < p.max_output; k += blockDim.x) indices[k] = kept[k] = 0;
  __syncthreads();
  int count = 0;
  for (; count < p.max_output; ++count) {
    Best mine = nobody();
    for (int64_t i = threadIdx.x; i < p.boxes; i += blockDim.x) {
      if (live[i] > -INFINITY && mine.loses_to(live[i], i)) mine = {live[i], i};
    }
    const Best best = best_of_block(mine);
    if (best.index < 0) break;
    if (threadIdx.x == 0) {
      indices[count] = int(best.index);
      kept[count] = best.score;
    }
    for (int64_t i = threadIdx.x; i < p.boxes; i += blockDim.x) {
      if (!(live[i] > -INFINITY)) continue;
      live[i] = i == best.index ? -INFINITY
                                : lowered_score(p, live[i], box_iou(boxes + 4 * best.index, boxes + 4 * i));
    }
  }
  if (threadIdx.x == 0) counts[blockIdx.x] = count;
}

int64_t blocks_of(const Nms& p, int each) { return p.batch * ((p.boxes + each - 1) / each); }

}  // namespace
}  // namespace kdet

extern "C" cudaError_t kdet_cuda_nms(const kdet::Nms* p, const float* boxes, const float* scores, const int* labels,
                                     int* places, float* kept, int* indices, int* counts, cudaStream_t stream) {
  if (p->batch == 0) return cudaSuccess;
  const int64_t size = p->batch * p->boxes;
  const kdet::Candidates all = {boxes,         scores,        labels,
                                places,        places + size, places + 2 * size,
                                reinterpret_cast<kdet::Box*>(kept)};
  if (size > 0 && p->max_output > 0) {
    kdet::rank_kernel<<<int(kdet::blocks_of(*p, kdet::kRanked)), kdet::kThreads, 0, stream>>>(*p, all);
    kdet::class_kernel<<<int(kdet::blocks_of(*p, kdet::kStarts)), kdet::kWideBlock, 0, stream>>>(*p, all);
  }
  kdet::collect_kernel<<<int(p->batch), kdet::kWideBlock, 0, stream>>>(*p, all.winners, indices, counts);
  return cudaGetLastError();
}

extern "C" cudaError_t kdet_cuda_soft_nms(const kdet::SoftNms* p, const float* boxes, const float* scores,
                                          float* live, int* indices, float* kept, int* counts,
                                          cudaStream_t stream) {
  if (p->batch == 0) return cudaSuccess;
  kdet::soft_nms_kernel<<<int(p->batch), kdet::kThreads, 0, stream>>>(*p, boxes, scores, live, indices, kept,
                                                                      counts);
  return cudaGetLastError();
}
