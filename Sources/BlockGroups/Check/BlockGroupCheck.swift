//===-- BlockGroupCheck.swift - block groups against chunks and extents --------------------------===//
// One group for each chunk, of its place, length and type; every extent inside one group that may
// hold it; bytes used add up, in each group and in the super block.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat

extension Checker {
    func checkBlockGroups() {
        compareGroupsWithChunks()
        placeExtents()
        var sum: UInt64 = 0
        for group in groups {
            sum = sum &+ group.used
            if extentsAreWhole, group.used != group.found {
                report(
                    CheckFault(
                        .blockGroup,
                        "% bytes used, its extents hold %",
                        group.used,
                        group.found,
                        logical: group.logical
                    )
                )
            }
        }
        if groupsAreWhole, sum != superBlock.bytesUsed {
            report(
                CheckFault(
                    .superBlock,
                    "% bytes used, block groups hold %",
                    superBlock.bytesUsed,
                    sum
                )
            )
        }
    }

    private func compareGroupsWithChunks() {
        var index = 0
        var other = 0
        while index < chunks.count || other < groups.count {
            let hasChunk = index < chunks.count
            let hasGroup = other < groups.count
            if hasChunk, !hasGroup || chunks[index].logical < groups[other].logical {
                if groupsAreWhole {
                    report(
                        CheckFault(.chunk, "has no block group", logical: chunks[index].logical)
                    )
                }
                index += 1
            } else if hasGroup, !hasChunk || groups[other].logical < chunks[index].logical {
                if chunksAreWhole {
                    report(
                        CheckFault(.blockGroup, "has no chunk", logical: groups[other].logical)
                    )
                }
                other += 1
            } else {
                compare(groups[other], chunks[index])
                index += 1
                other += 1
            }
        }
    }

    private func compare(_ group: CheckedGroup, _ chunk: ChunkItem) {
        if group.length != chunk.length {
            report(
                CheckFault(
                    .blockGroup,
                    "length %, its chunk has %",
                    group.length,
                    chunk.length,
                    logical: group.logical
                )
            )
        }
        if group.flags != chunk.flags {
            report(
                CheckFault(
                    .blockGroup,
                    "type %, its chunk has %",
                    group.flags.rawValue,
                    chunk.flags.rawValue,
                    logical: group.logical
                )
            )
        }
    }

    private func placeExtents() {
        var group = 0
        for extent in extents.extents {
            while group < groups.count, groups[group].end <= extent.logical { group += 1 }
            guard group < groups.count, groups[group].logical <= extent.logical,
                extent.end <= groups[group].end
            else {
                if groupsAreWhole {
                    report(
                        CheckFault(
                            .extent,
                            "of % bytes does not lie in a block group",
                            extent.length,
                            logical: extent.logical
                        )
                    )
                }
                continue
            }
            groups[group].found += extent.length
            checkKind(of: extent, in: groups[group])
            if extent.isTreeBlock { checkPlace(of: extent) }
        }
    }

    private func checkKind(of extent: RecordedExtent, in group: CheckedGroup) {
        let isRight =
            extent.isTreeBlock
            ? group.flags.contains(.metadata) || group.flags.contains(.system)
            : group.flags.contains(.data)
        guard !isRight else { return }
        report(
            CheckFault(
                .extent,
                "lies in the block group at %, of type %",
                group.logical,
                group.flags.rawValue,
                logical: extent.logical
            )
        )
    }

    /// A tree block must not pass the end of a stripe, or scrub could not read it.
    private func checkPlace(of extent: RecordedExtent) {
        let stripe: UInt64 = 65536
        if extent.logical % stripe + extent.length > stripe {
            report(
                CheckFault(.extent, "tree block crosses a stripe", logical: extent.logical)
            )
        }
        if !extent.logical.isAligned(to: superBlock.nodeSize) {
            // Sound, but the kernel tells of it.
            report(
                CheckFault(
                    .extent,
                    "tree block is not aligned to the node size",
                    logical: extent.logical,
                    isRemark: true
                )
            )
        }
    }
}
