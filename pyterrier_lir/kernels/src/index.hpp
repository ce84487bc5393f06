// An opened index as a query sees it: the arrays of its codec and of its segments, whose documents follow each other.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "ahead.hpp"
#include "cells.hpp"
#include "centroid_scores.hpp"
#include "codes.hpp"
#include "maxsim.hpp"
#include "maxsim_codes.hpp"
#include "memory.hpp"

namespace lir {

// What each document of a segment owns of a list: those from offsets[doc] to offsets[doc + 1].
struct Owned {
    const std::int64_t* offsets;
    std::int64_t size;  // of the list

    void check(std::int64_t doc) const {
        using std::to_string;
        if (offsets[doc] < 0 || offsets[doc] > offsets[doc + 1] || offsets[doc + 1] > size)
            throw std::invalid_argument("offsets gives document " + to_string(doc) + " the entries " +
                                        to_string(offsets[doc]) + " to " + to_string(offsets[doc + 1]) +
                                        ", but they must not decrease and lie within 0 to " + to_string(size) +
                                        "; is the file cut off, or from another index?");
    }
};

template <typename Code>
struct IndexSegment {
    std::int64_t first_doc, num_docs;
    Owned tokens, distinct;  // a document's tokens, and its distinct codes
    Codes<Code> doc_codes;
    CodedTokens<Code> coded;       // without the centroids' scores, which a query brings
    const std::uint16_t* vectors;  // in half precision, or null

    std::int64_t end() const { return first_doc + num_docs; }
};

// The documents of each centroid, of neighbouring segments.
struct DocCells {
    std::int64_t first_doc, num_docs;
    Cells cells;  // whose documents are counted from first_doc on
};

// The centroids in 8 bits a value, and how the levels of residuals are packed.
struct IndexCodec {
    int dim, nbits;
    const std::int8_t* centroids;
    const float* centroid_scale;
    std::int64_t num_centroids;
    const std::uint8_t* level_table;  // or null
};

template <typename Code>
struct IndexArrays {
    IndexCodec codec;
    std::vector<IndexSegment<Code>> segments;  // those with tokens
    std::vector<DocCells> doc_cells;
    std::int64_t num_docs;

    // The last segment that begins at a docid or before it, or the first of all; `guess` is tried first.
    std::size_t part_of(std::int64_t docid, std::size_t guess) const {
        if (docid >= segments[guess].first_doc && docid < segments[guess].end()) return guess;
        const auto after = std::upper_bound(segments.begin(), segments.end(), docid,
                                            [](std::int64_t d, const auto& segment) { return d < segment.first_doc; });
        return std::size_t(std::max<std::ptrdiff_t>(after - segments.begin() - 1, 0));
    }

    bool keeps_vectors() const { return !segments.empty() && segments[0].vectors != nullptr; }
};

// A query: its rows, and what the kernels over codes make of them. Weights are in all but `embs`.
struct QueryArrays {
    int rows;
    const float* embs;
    const float* weights;
    const std::int8_t* bytes;  // in units of byte_scale
    const float* byte_scale;
    const std::int8_t* levels;  // times the codec's steps, in units of level_scale
    const float* level_scale;
    const float* bias;  // products with the codec's lowest level

    int columns() const { return (rows + 15) / 16 * 16; }
};

// Where what some documents own lies.
class Places {
   public:
    // Of docids in any order. A document of no segment has no tokens, and owns nothing.
    template <typename Code>
    Documents find(const IndexArrays<Code>& index, Owned IndexSegment<Code>::*owned, const std::int64_t* docids,
                   std::int64_t size) {
        starts_.clear(), ends_.clear(), parts_.clear();
        std::size_t part = 0;
        for (std::int64_t k = 0; k < size; ++k) {
            part = index.part_of(docids[k], part);
            const std::int64_t doc = docids[k] - index.segments[part].first_doc;
            const bool inside = doc >= 0 && doc < index.segments[part].num_docs;
            const Owned& list = index.segments[part].*owned;
            if (inside) list.check(doc);
            starts_.push_back(inside ? list.offsets[doc] : 0);
            ends_.push_back(inside ? list.offsets[doc + 1] : 0);
            parts_.push_back(std::int32_t(part));
        }
        return {starts_.data(), ends_.data(), size, parts_.data()};
    }

   private:
    std::vector<std::int64_t> starts_, ends_;
    std::vector<std::int32_t> parts_;
};

// Scores documents for one query as exhaustive search does: from vectors where the index kept them, else from codes.
template <typename Code>
class DocumentScorer {
   public:
    // With the query's scores of centroids, unless the index keeps vectors.
    DocumentScorer(const IndexArrays<Code>& index, const QueryArrays& query, const float* centroid_scores)
        : index_(index),
          query_(query),
          layout_(index.codec.dim, index.codec.nbits, index.codec.level_table),
          bytes_(query.levels, query.level_scale, query.bias, query.rows, index.codec.dim, layout_) {
        for (const auto& segment : index.segments) {
            vectors_.push_back(segment.vectors);
            tokens_.push_back(segment.coded);
            tokens_.back().centroid_scores = centroid_scores;
            tokens_.back().columns = query.columns();
        }
    }

    // Asks for the tokens of documents that lie apart.
    void ask_for(const Documents& documents) const {
        Ahead ahead;
        for (std::int64_t k = 0; k < documents.size; ++k) {
            const std::size_t part = documents.part(k);
            const std::int64_t first = documents.starts[k], end = documents.ends[k];
            const CodedTokens<Code>& tokens = tokens_[part];
            if (index_.keeps_vectors()) {
                ahead.add(vectors_[part], first * index_.codec.dim, end * index_.codec.dim);
            } else {
                ahead.add(tokens.codes.values, first, end);
                ahead.add(tokens.packed, first * layout_.width, end * layout_.width);
                ahead.add(tokens.inv_norm, first, end);
            }
        }
        ahead.ask();
    }

    void score(const Documents& documents, int num_threads, float* scores) const {
        if (index_.keeps_vectors())
            maxsim(query_.embs, query_.rows, index_.codec.dim, query_.weights, vectors_.data(), documents, num_threads,
                   scores);
        else
            maxsim_codes(bytes_, layout_, tokens_.data(), documents, num_threads, scores);
    }

   private:
    const IndexArrays<Code>& index_;
    QueryArrays query_;
    ByteRows layout_;
    QueryBytes bytes_;
    std::vector<const std::uint16_t*> vectors_;
    std::vector<CodedTokens<Code>> tokens_;
};

// The scores of all centroids, in memory that is kept.
inline const float* score_centroids(const IndexCodec& codec, const QueryArrays& query, int num_threads,
                                    Room<float>& room) {
    float* scores = room.of(std::size_t(codec.num_centroids) * query.columns());
    centroid_scores(query.bytes, query.byte_scale, query.rows, codec.dim, query.columns(), codec.centroids,
                    codec.centroid_scale, codec.num_centroids, num_threads, scores);
    return scores;
}

}  // namespace lir
