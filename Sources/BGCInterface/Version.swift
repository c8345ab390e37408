//===-- Version.swift - bg_version() -------------------------------------------------------------===//
// The version of the library; BG_VERSION_* in the header say that of the header.

import CBlockGroups

@c @implementation
public func bg_version() -> UnsafePointer<CChar>? {
    let text: StaticString = "0.2.0"
    return unsafe UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
}
