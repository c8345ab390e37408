//===-- Volume+Writing.swift - bytes to every copy of a logical address ---------------------------===//
// Splits a range at chunks and stripes and writes each piece to all of its copies.
//
// Invariants:
//   1. A write that was refused (unmapped, a missing device, raid5 or raid6) wrote nothing.
//   2. A write that returned has every copy on its device; `flush` makes them durable.
//   3. After one copy failed, the write has failed: any part of it may be on the devices.
//
// Locks: the map's, for each look-up. Any number of threads may write; where two write the same
// bytes, either may win on each copy.
// Not here: raid5 and raid6, whose parity needs the rest of the row; super blocks
// (Volume+SuperBlocks.swift).

package import BGDiskFormat

extension Volume {
    /// Writes `buffer` to every copy of `logical` and what follows it.
    ///
    /// Throws `.invalidArgument` where no chunk holds some of the range, `.missingDevice` where one
    /// of its devices was not given, `.unsupported` for raid5 and raid6, `.io` and other errors of
    /// the first device that fails.
    package func write(
        logical: UInt64,
        from buffer: UnsafeRawBufferPointer
    ) throws(FilesystemError) {
        try checkWritable(logical: logical, length: UInt64(buffer.count))
        try unsafe forEachPiece(logical: logical, buffer) {
            (chunk, place, piece) throws(FilesystemError) in
            for mirror in 1...chunk.item.profile.copies {
                try unsafe writeStripe(chunk, place, mirror: mirror, from: piece)
            }
        }
    }

    /// Writes `span` to every copy; see `write(logical:from:)`.
    package func write(logical: UInt64, _ span: RawSpan) throws(FilesystemError) {
        try unsafe span.withUnsafeBytes { buffer throws(FilesystemError) in
            try unsafe write(logical: logical, from: buffer)
        }
    }

    /// Writes one copy alone, numbered from 1: to put right what reading found bad.
    ///
    /// Throws what `write(logical:from:)` does, and `.invalidArgument` where some of the range has
    /// no such copy.
    package func writeCopy(
        logical: UInt64,
        mirror: Int,
        from buffer: UnsafeRawBufferPointer
    ) throws(FilesystemError) {
        try checkWritable(logical: logical, length: UInt64(buffer.count), mirror: mirror)
        try unsafe forEachPiece(logical: logical, buffer) {
            (chunk, place, piece) throws(FilesystemError) in
            try unsafe writeStripe(chunk, place, mirror: mirror, from: piece)
        }
    }

    /// Waits until everything that was written before is durable on every device. All devices are
    /// asked, also after one failed.
    ///
    /// Throws the first device's failure; that device then fails every later flush.
    package func flush() throws(FilesystemError) {
        var first: FilesystemError?
        for device in devices {
            do throws(FilesystemError) { try device.flush() } catch { first = first ?? error }
        }
        if let first { throw first }
    }

    /// Throws unless every byte of the range has a chunk that can be written.
    private func checkWritable(
        logical: UInt64,
        length: UInt64,
        mirror: Int? = nil
    ) throws(FilesystemError) {
        guard let end = logical.end(adding: length) else {
            throw FilesystemError(
                .invalidArgument,
                "write",
                "% bytes pass the last address",
                length,
                logical: logical
            )
        }
        var from = logical
        while from < end {
            let chunk = try mappedChunk(at: from)
            do throws(FilesystemError) {
                try Volume.checkWritable(chunk, mirror: mirror)
            } catch {
                throw error.located(logical: from)
            }
            from = chunk.item.end
        }
    }

    private static func checkWritable(
        _ chunk: Chunk,
        mirror: Int?
    ) throws(FilesystemError) {
        let profile = chunk.item.profile
        guard profile.parityStripes == 0 else {
            throw FilesystemError(
                .unsupported,
                "chunk",
                "raid5 and raid6 cannot be written for now"
            )
        }
        if let mirror {
            guard 1...profile.copies ~= mirror else {
                throw FilesystemError(
                    .invalidArgument,
                    "chunk",
                    "has no mirror %",
                    UInt64(truncatingIfNeeded: mirror)
                )
            }
        }
        for index in 0..<chunk.devices.count where chunk.devices[index] == nil {
            throw FilesystemError(
                .missingDevice,
                "device",
                "not there",
                devid: chunk.item.stripes[index].devid
            )
        }
    }

    /// Calls `body` with each part of `buffer` that lies side by side in one chunk and stripe.
    private func forEachPiece(
        logical: UInt64,
        _ buffer: UnsafeRawBufferPointer,
        _ body: (Chunk, Chunk.Place, UnsafeRawBufferPointer) throws(FilesystemError) -> Void
    ) throws(FilesystemError) {
        var done = 0
        while done < buffer.count {
            let from = logical + UInt64(done)
            let chunk = try mappedChunk(at: from)
            let stop = min(
                buffer.count,
                done + Int(min(chunk.item.end - from, UInt64(Int.max / 2)))
            )
            // All pieces of a chunk with one look-up.
            while done < stop {
                let at = logical + UInt64(done)
                let place = chunk.place(offset: at - chunk.item.logical)
                let length = Int(min(place.contiguous, UInt64(stop - done)))
                let piece = unsafe UnsafeRawBufferPointer(rebasing: buffer[done..<done + length])
                do throws(FilesystemError) {
                    try unsafe body(chunk, place, piece)
                } catch {
                    throw error.located(logical: at)
                }
                done += length
            }
        }
    }

    private func writeStripe(
        _ chunk: Chunk,
        _ place: Chunk.Place,
        mirror: Int,
        from buffer: UnsafeRawBufferPointer
    ) throws(FilesystemError) {
        let index = chunk.stripeIndex(of: place, mirror: mirror)
        let stripe = chunk.item.stripes[index]
        guard let device = chunk.devices[index] else {
            throw FilesystemError(.missingDevice, "device", "not there", devid: stripe.devid)
        }
        try unsafe device.write(physical: stripe.physical + place.stripeOffset, from: buffer)
    }
}
