-- Wireshark dissector of udpft's protocols. The fields are named after docs/protocol.md.
--
-- Try it:      tshark -X lua_script:contrib/wireshark/udpft.lua -r capture.pcapng
-- Install it:  cp contrib/wireshark/udpft.lua ~/.local/lib/wireshark/plugins/
--
-- Reliable packets are known by their first bytes on any port; so are add-numbers and messages.
-- Plain has no sign of its own: it is looked for on the ports of the preferences, 9000 at first.
-- On another port: Decode As, or `-d udp.port==9005,udpft`.
--
-- A capture that was taken where the kernel cuts or joins datagrams (GSO, GRO) has up to 64 KiB of
-- them in one packet: each is shown by itself.

local udpft = Proto("udpft", "udpft, reliable")
local plain = Proto("udpft.plain", "udpft, plain")
local add = Proto("udpft.add", "udpft, add-numbers")
local message = Proto("udpft.message", "udpft, timed messages")

udpft.prefs.ports = Pref.range("UDP ports", "9000", "Ports of udpft serve", 65535)
udpft.prefs.checks = Pref.uint("DATA packets whose check is computed", 50000,
  "Each takes half a millisecond; those behind them count as unverified. 0 for none")
add.prefs.ports = Pref.range("UDP ports", "9001", "Ports of udpft add serve", 65535)
message.prefs.ports = Pref.range("UDP ports", "9002", "Ports of udpft message serve", 65535)

local HELLO, RETRY, ACCEPT, DATA, ACK, FIN, FIN_ACK, ERROR =
  0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88
local KEYED_HELLO, KEYED_RETRY, ANSWER, SEALED = 0x91, 0x92, 0x93, 0x94

local TYPES = {
  [HELLO] = "HELLO", [RETRY] = "RETRY", [ACCEPT] = "ACCEPT", [DATA] = "DATA", [ACK] = "ACK",
  [FIN] = "FIN", [FIN_ACK] = "FIN_ACK", [ERROR] = "ERROR", [KEYED_HELLO] = "keyed HELLO",
  [KEYED_RETRY] = "keyed RETRY", [ANSWER] = "ANSWER", [SEALED] = "SEALED",
}
local ROLES = {
  [1] = "get", [2] = "put", [3] = "list", [4] = "tree", [5] = "put, listing of a tree",
  [6] = "put, tree", [7] = "measure", [8] = "measure, the other way",
  [9] = "range",
}
local TAGS = {
  [1] = "name", [2] = "chunk size wanted", [3] = "receive room", [4] = "highest rate",
  [5] = "ranges held", [6] = "identity of what is held", [7] = "flags", [8] = "size",
  [9] = "time of the last change", [10] = "identity", [11] = "range", [12] = "round trip",
  [13] = "holes",
}
local CODES = {
  [1] = "NOT_FOUND", [2] = "DENIED", [3] = "BUSY", [4] = "CHANGED", [5] = "VERSION",
  [6] = "UPLOAD_REFUSED", [7] = "READ_FAILED", [8] = "WRITE_FAILED", [9] = "DIGEST_MISMATCH",
  [10] = "VIOLATION", [11] = "CANCELLED", [12] = "SHUTTING_DOWN", [13] = "TIMED_OUT",
  [14] = "NO_KEY", [15] = "EXISTS", [16] = "RANGE_NOT_THERE",
}
local SUITES = { [0] = "none", [1] = "AES-256-GCM", [2] = "ChaCha20-Poly1305" }
local BAD, GOOD, UNVERIFIED = 0, 1, 2
local STATUS = { [BAD] = "Bad", [GOOD] = "Good", [UNVERIFIED] = "Unverified" }

local f = {
  type = ProtoField.uint8("udpft.type", "Type", base.HEX, TYPES),
  flags = ProtoField.uint8("udpft.flags", "Flags", base.HEX),
  aux = ProtoField.uint16("udpft.aux", "Aux", base.DEC),
  cid = ProtoField.uint32("udpft.cid", "Connection id of the receiver", base.HEX),
  check = ProtoField.uint64("udpft.check", "Check", base.HEX),
  check_status = ProtoField.uint8("udpft.check.status", "Check status", base.DEC, STATUS),
  nonce = ProtoField.uint64("udpft.nonce", "Nonce", base.HEX),
  cookie = ProtoField.bytes("udpft.cookie", "Cookie"),
  own_cid = ProtoField.uint32("udpft.own_cid", "Connection id of the sender", base.HEX),
  version = ProtoField.uint16("udpft.version", "Version", base.DEC),
  attempt = ProtoField.uint8("udpft.attempt", "Attempt", base.DEC),
  role = ProtoField.uint8("udpft.role", "Role", base.DEC, ROLES),
  field = ProtoField.none("udpft.field", "Field"),
  tag = ProtoField.uint8("udpft.field.tag", "Tag", base.DEC, TAGS),
  length = ProtoField.uint16("udpft.field.length", "Length", base.DEC),
  name = ProtoField.string("udpft.name", "Name", base.UNICODE),
  chunk_size = ProtoField.uint64("udpft.chunk_size", "Chunk size", base.DEC),
  room = ProtoField.uint64("udpft.room", "Receive room", base.DEC),
  max_rate = ProtoField.uint64("udpft.max_rate", "Highest rate, bytes per second", base.DEC),
  have = ProtoField.none("udpft.have", "Range held"),
  have_first = ProtoField.uint64("udpft.have.first", "First byte", base.DEC),
  have_stop = ProtoField.uint64("udpft.have.stop", "Stop", base.DEC),
  have_of = ProtoField.uint64("udpft.have_of", "Identity of what is held", base.HEX),
  wanted_first = ProtoField.int64("udpft.range.first", "First byte of the range", base.DEC),
  wanted_stop = ProtoField.uint64("udpft.range.stop", "Byte behind the range", base.DEC),
  file_size = ProtoField.uint64("udpft.range.file_size", "Size of the whole file", base.DEC),
  file_identity = ProtoField.uint64("udpft.range.file_identity", "Identity of the file", base.HEX),
  request_flags = ProtoField.uint64("udpft.request_flags", "Flags of the request", base.HEX),
  size = ProtoField.uint64("udpft.size", "Size", base.DEC),
  mtime = ProtoField.int64("udpft.mtime", "Time of the last change, ns since 1970", base.DEC),
  identity = ProtoField.uint64("udpft.identity", "Identity", base.HEX),
  rtt = ProtoField.uint64("udpft.rtt", "Round trip (µs)"),
  padding = ProtoField.none("udpft.padding", "Padding"),
  hello_size = ProtoField.uint16("udpft.hello_size", "Size of the HELLO answered", base.DEC),
  pn = ProtoField.uint32("udpft.pn", "Packet number", base.DEC),
  chunk = ProtoField.uint32("udpft.chunk", "Chunk", base.DEC),
  ack_request = ProtoField.bool("udpft.ack_request", "Acknowledge at once", 8, nil, 0x01),
  payload = ProtoField.bytes("udpft.payload", "Payload"),
  ack_delay = ProtoField.uint32("udpft.ack.delay", "Ack delay, us", base.DEC),
  ack_room = ProtoField.uint32("udpft.ack.room", "Room", base.DEC),
  first_missing = ProtoField.uint32("udpft.ack.first_missing", "First missing chunk", base.DEC),
  dropped = ProtoField.uint32("udpft.ack.dropped", "Datagrams dropped", base.DEC),
  range = ProtoField.string("udpft.ack.range", "Packets"),
  range_first = ProtoField.uint32("udpft.ack.range.first", "First", base.DEC),
  range_stop = ProtoField.uint32("udpft.ack.range.stop", "Stop", base.DEC),
  digest = ProtoField.bytes("udpft.digest", "Digest"),
  skipped = ProtoField.uint16("udpft.skipped", "Packet numbers skipped", base.DEC),
  code = ProtoField.uint32("udpft.error.code", "Code", base.DEC, CODES),
  reason = ProtoField.string("udpft.error.reason", "Reason", base.UNICODE),
  retry_after = ProtoField.uint16("udpft.error.retry_after", "Try again after, ms", base.DEC),
  first_sent = ProtoField.framenum("udpft.first_sent", "Chunk first sent in", base.NONE,
    frametype.RETRANS_PREV),
  suite = ProtoField.uint16("udpft.keyed.suite", "Suite", base.DEC, SUITES),
  e = ProtoField.bytes("udpft.keyed.e", "Ephemeral key"),
  re = ProtoField.bytes("udpft.keyed.re", "Beginning of the HELLO's ephemeral key"),
  keyed_nonce = ProtoField.bytes("udpft.keyed.nonce", "Nonce of the cipher"),
  counter = ProtoField.uint64("udpft.keyed.counter", "Counter", base.DEC),
  ciphertext = ProtoField.bytes("udpft.keyed.ciphertext", "Ciphertext"),
  tag_of = ProtoField.bytes("udpft.keyed.tag", "Tag"),
}
local x = {
  again = ProtoExpert.new("udpft.expert.retransmission", "Chunk sent again",
    expert.group.SEQUENCE, expert.severity.NOTE),
  repeated = ProtoExpert.new("udpft.expert.repeated", "Datagram repeated",
    expert.group.SEQUENCE, expert.severity.NOTE),
  gap = ProtoExpert.new("udpft.expert.gap", "Packet numbers before this one were not seen",
    expert.group.SEQUENCE, expert.severity.CHAT),
  hello_again = ProtoExpert.new("udpft.expert.hello_again", "HELLO repeated",
    expert.group.SEQUENCE, expert.severity.NOTE),
  damaged = ProtoExpert.new("udpft.expert.damaged", "Check is wrong: damaged, or forged",
    expert.group.CHECKSUM, expert.severity.ERROR),
  wrong = ProtoExpert.new("udpft.expert.wrong", "Not as the protocol says",
    expert.group.PROTOCOL, expert.severity.WARN),
  failed = ProtoExpert.new("udpft.expert.error", "The transfer is over",
    expert.group.RESPONSE_CODE, expert.severity.WARN),
}
local function values(named)
  local list = {}
  for _, value in pairs(named) do list[#list + 1] = value end
  return list
end
udpft.fields = values(f)
udpft.experts = values(x)

local pf = {
  name = ProtoField.string("udpft.plain.name", "Name", base.UNICODE),
  chunk = ProtoField.bytes("udpft.plain.chunk", "Chunk"),
  number = ProtoField.uint32("udpft.plain.number", "Number of this datagram", base.DEC),
  offset = ProtoField.uint64("udpft.plain.offset", "Offset, if none was lost", base.DEC),
  last = ProtoField.bool("udpft.plain.last", "Ends the file"),
  request_in = ProtoField.framenum("udpft.plain.request_in", "Asked for in", base.NONE,
    frametype.REQUEST),
  file = ProtoField.bytes("udpft.plain.file", "File"),
  file_size = ProtoField.uint64("udpft.plain.file.size", "Size", base.DEC),
  datagrams = ProtoField.uint32("udpft.plain.file.datagrams", "Datagrams", base.DEC),
}
plain.fields = values(pf)

local af = {
  word = ProtoField.string("udpft.add.word", "Word"),
  integer = ProtoField.string("udpft.add.integer", "Integer"),
  name = ProtoField.string("udpft.add.name", "Name", base.UNICODE),
  id = ProtoField.string("udpft.add.id", "Id"),
}
add.fields = values(af)

local mf = {
  word = ProtoField.string("udpft.message.word", "Word"),
  text = ProtoField.string("udpft.message.text", "Text", base.UNICODE),
  from = ProtoField.string("udpft.message.from", "From", base.UNICODE),
  at = ProtoField.string("udpft.message.at", "Sender's time"),
  id = ProtoField.string("udpft.message.id", "Id"),
}
message.fields = values(mf)

------------------------------------------------------------------------------------------ XXH3-64

local function u64(text) return UInt64.fromhex(text) end
local SECRET = ByteArray.new(
  "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f" ..
  "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c" ..
  "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8" ..
  "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364" ..
  "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e" ..
  "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e")
local P1, P2, P3 = u64("9E3779B185EBCA87"), u64("C2B2AE3D27D4EB4F"), u64("165667B19E3779F9")
local P4, P5 = u64("85EBCA77C2B2AE63"), u64("27D4EB2F165667C5")
local Q1, Q2, Q3 = UInt64(0x9E3779B1), UInt64(0x85EBCA77), UInt64(0xC2B2AE3D)
local MX1, MX2 = u64("165667919E3779F9"), u64("9FB21C651E98DF25")
local LOW = UInt64(0xFFFFFFFF)

-- A string of bytes is quicker to read from than a Tvb.
local byte = string.byte
local function word(text, at)
  local a, b, c, d, e_, f_, g, h = byte(text, at + 1, at + 8)
  return UInt64(a + b * 0x100 + c * 0x10000 + d * 0x1000000,
    e_ + f_ * 0x100 + g * 0x10000 + h * 0x1000000)
end
local function half(text, at)
  local a, b, c, d = byte(text, at + 1, at + 4)
  return UInt64(a + b * 0x100 + c * 0x10000 + d * 0x1000000)
end

local SECRET_TEXT = SECRET:raw()

-- The high and the low half of a product of 128 bits, by XOR.
local function fold(a, b)
  local al, ah, bl, bh = a:band(LOW), a:rshift(32), b:band(LOW), b:rshift(32)
  local ll, hl, lh, hh = al * bl, ah * bl, al * bh, ah * bh
  local cross = ll:rshift(32) + hl:band(LOW) + lh
  local upper = hl:rshift(32) + cross:rshift(32) + hh
  return upper:bxor(cross:lshift(32):bor(ll:band(LOW)))
end
local function avalanche(h)
  h = h:bxor(h:rshift(37)) * MX1
  return h:bxor(h:rshift(32))
end
local function avalanche64(h)
  h = h:bxor(h:rshift(33)) * P2
  h = h:bxor(h:rshift(29)) * P3
  return h:bxor(h:rshift(32))
end
local function mix(text, at, secret_at, seed)
  return fold(word(text, at):bxor(word(SECRET_TEXT, secret_at) + seed),
    word(text, at + 8):bxor(word(SECRET_TEXT, secret_at + 8) - seed))
end

local function short(text, size, seed)
  if size == 0 then
    return avalanche64(seed:bxor(word(SECRET_TEXT, 56):bxor(word(SECRET_TEXT, 64))))
  elseif size <= 3 then
    local a, b, c = byte(text, 1), byte(text, math.floor(size / 2) + 1), byte(text, size)
    local all = UInt64(a * 0x10000 + b * 0x1000000 + c + size * 0x100)
    local flip = half(SECRET_TEXT, 0):bxor(half(SECRET_TEXT, 4)) + seed
    return avalanche64(all:bxor(flip))
  elseif size <= 8 then
    local swapped = seed:band(LOW):bswap():rshift(32):lshift(32)
    local s = seed:bxor(swapped)
    local flip = word(SECRET_TEXT, 8):bxor(word(SECRET_TEXT, 16)) - s
    local h = (half(text, size - 4) + half(text, 0):lshift(32)):bxor(flip)
    h = h:bxor(h:rol(49)):bxor(h:rol(24)) * MX2
    h = h:bxor(h:rshift(35) + UInt64(size)) * MX2
    return h:bxor(h:rshift(28))
  end
  local low = word(text, 0):bxor(word(SECRET_TEXT, 24):bxor(word(SECRET_TEXT, 32)) + seed)
  local high = word(text, size - 8):bxor(word(SECRET_TEXT, 40):bxor(word(SECRET_TEXT, 48)) - seed)
  return avalanche(UInt64(size) + low:bswap() + high + fold(low, high))
end

local function middle(text, size, seed)
  local acc = UInt64(size) * P1
  if size <= 128 then
    for i = math.floor((size - 1) / 32), 0, -1 do
      acc = acc + mix(text, 16 * i, 32 * i, seed) + mix(text, size - 16 * (i + 1), 32 * i + 16, seed)
    end
    return avalanche(acc)
  end
  for i = 0, 7 do acc = acc + mix(text, 16 * i, 16 * i, seed) end
  acc = avalanche(acc)
  for i = 8, math.floor(size / 16) - 1 do acc = acc + mix(text, 16 * i, 16 * (i - 8) + 3, seed) end
  return avalanche(acc + mix(text, size - 16, 119, seed))
end

-- The words of the secret that a seed makes, by their place in bytes. Those of seed 0 are kept.
local function secret_words(seed)
  local words = {}
  if seed == UInt64(0) then
    for at = 0, 184 do words[at] = word(SECRET_TEXT, at) end
    return words
  end
  local made = {}
  for at = 0, 176, 16 do
    made[#made + 1] = Struct.pack("<E", word(SECRET_TEXT, at) + seed)
    made[#made + 1] = Struct.pack("<E", word(SECRET_TEXT, at + 8) - seed)
  end
  local text = table.concat(made)
  setmetatable(words, { __index = function(self, at)
    local found = word(text, at)
    self[at] = found
    return found
  end })
  return words
end
local UNSEEDED = nil

local function long(text, size, seed)
  UNSEEDED = UNSEEDED or secret_words(UInt64(0))
  local secret = seed == UInt64(0) and UNSEEDED or secret_words(seed)
  local acc = { [0] = Q3, P1, P2, P3, P4, Q2, P5, Q1 }
  local function stripe(at, secret_at)
    for i = 0, 7 do
      local value = word(text, at + 8 * i)
      local key = value:bxor(secret[secret_at + 8 * i])
      local other = i % 2 == 0 and i + 1 or i - 1
      acc[other] = acc[other] + value
      acc[i] = acc[i] + key:band(LOW) * key:rshift(32)
    end
  end
  for n = 0, math.floor((size - 1) / 64) - 1 do
    stripe(64 * n, n % 16 * 8)
    if n % 16 == 15 then
      for i = 0, 7 do
        acc[i] = acc[i]:bxor(acc[i]:rshift(47)):bxor(secret[128 + 8 * i]) * Q1
      end
    end
  end
  stripe(size - 64, 121)
  local sum = UInt64(size) * P1
  for i = 0, 3 do
    sum = sum + fold(acc[2 * i]:bxor(secret[11 + 16 * i]), acc[2 * i + 1]:bxor(secret[19 + 16 * i]))
  end
  return avalanche(sum)
end

local function xxh3_64(text, seed)
  local size = #text
  if size <= 16 then return short(text, size, seed) end
  if size <= 240 then return middle(text, size, seed) end
  return long(text, size, seed)
end

-------------------------------------------------------------------------------------------- state

-- Transfers by the address and the connection id that their packets go to; see `transfer_to`.
local transfers = {}
-- What was found out of a datagram when it was seen first, by frame and offset.
local verdicts = {}
-- Plain transfers by server and client; what was found out of each of their datagrams, by frame.
local plains, plain_of = {}, {}
-- Which end of two addresses is the server's, where the ports do not tell.
local servers = {}
local checked = 0

function udpft.init()
  transfers, verdicts, plains, plain_of, servers, checked = {}, {}, {}, {}, {}, 0
end

local function source_of(pinfo) return tostring(pinfo.src) .. " " .. pinfo.src_port end
local function destination_of(pinfo) return tostring(pinfo.dst) .. " " .. pinfo.dst_port end

local function transfer_to(place, cid)
  local key = place .. " " .. cid
  local known = transfers[key]
  if not known then
    known = { packets = {}, chunks = {}, hellos = {}, next = 0 }
    transfers[key] = known
  end
  return known
end

---------------------------------------------------------------------------------- reliable packets

local function is_wrong(tree, text) tree:add_proto_expert_info(x.wrong, text) end

local function dissect_ranges(tree, tvb, at, count)
  for _ = 1, count do
    local range = tvb(at, 16)
    local branch = tree:add(f.have, range)
    branch:add_le(f.have_first, tvb(at, 8))
    branch:add_le(f.have_stop, tvb(at + 8, 8))
    branch:set_text(string.format("Range held: %s to %s", tvb(at, 8):le_uint64(),
      tvb(at + 8, 8):le_uint64()))
    at = at + 16
  end
end

local NUMBERS = {
  [2] = f.chunk_size, [3] = f.room, [4] = f.max_rate, [6] = f.have_of, [7] = f.request_flags,
  [8] = f.size, [9] = f.mtime, [10] = f.identity, [12] = f.rtt,
}

local function dissect_hello(tvb, tree)
  tree:add(f.attempt, tvb(1, 1))
  if tvb:len() < 48 then
    is_wrong(tree, "HELLO too short")
    return "too short"
  end
  tree:add_le(f.nonce, tvb(16, 8))
  tree:add(f.cookie, tvb(24, 16))
  tree:add_le(f.own_cid, tvb(40, 4))
  tree:add_le(f.version, tvb(44, 2))
  tree:add(f.role, tvb(46, 1))
  local at, size, name, seen = 48, tvb:len(), nil, {}
  while at + 3 <= size do
    local tag, length = tvb(at, 1):uint(), tvb(at + 1, 2):le_uint()
    if tag == 0 then break end
    if at + 3 + length > size then
      is_wrong(tree, "HELLO field over the end")
      break
    end
    if seen[tag] then is_wrong(tree, "HELLO field given twice") end
    seen[tag] = true
    local branch = tree:add(f.field, tvb(at, 3 + length))
    branch:set_text("Field: " .. (TAGS[tag] or "unknown, " .. tag))
    branch:add(f.tag, tvb(at, 1))
    branch:add_le(f.length, tvb(at + 1, 2))
    local value = at + 3
    if tag == 1 then
      name = length > 0 and tvb(value, length):string(ENC_UTF_8) or ""
      if length > 0 then
        branch:add_packet_field(f.name, tvb(value, length), ENC_UTF_8)
      else
        branch:add(f.name, tvb(value, 0), "")
      end
    elseif tag == 5 then
      if length % 16 > 0 or length > 128 then
        is_wrong(tree, "HELLO with ranges of a wrong length")
      else
        dissect_ranges(branch, tvb, value, length / 16)
      end
    elseif tag == 11 then
      if length == 16 then
        branch:add_le(f.wanted_first, tvb(value, 8))
        branch:add_le(f.wanted_stop, tvb(value + 8, 8))
      else
        is_wrong(tree, "HELLO with a range of a wrong length")
      end
    elseif NUMBERS[tag] then
      if length == 8 then
        branch:add_le(NUMBERS[tag], tvb(value, 8))
      else
        is_wrong(tree, "HELLO number of a wrong width")
      end
    end
    at = value + length
  end
  if not name then is_wrong(tree, "HELLO without a name") end
  if at < size then tree:add(f.padding, tvb(at, size - at)):append_text(": " .. size - at .. " bytes") end
  local role = tvb(46, 1):uint()
  local cookie = tvb(24, 16):bytes():tohex() ~= string.rep("0", 32) and ", with a cookie" or ""
  local asks = tvb(4, 4):le_uint() ~= 0 and ", still there?" or ""
  return string.format("%s '%s'%s%s, %d bytes", ROLES[role] or "role " .. role, name or "", cookie,
    asks, size)
end

local function dissect_retry(tvb, tree)
  tree:add(f.attempt, tvb(1, 1))
  if tvb:len() ~= 44 then
    is_wrong(tree, "RETRY of a wrong length")
    return "of a wrong length"
  end
  tree:add_le(f.nonce, tvb(16, 8))
  tree:add(f.cookie, tvb(24, 16))
  tree:add_le(f.hello_size, tvb(40, 2))
  tree:add_le(f.version, tvb(42, 2))
  return "to a HELLO of " .. tvb(40, 2):le_uint() .. " bytes"
end

local function dissect_accept(tvb, tree)
  local size = tvb:len()
  if size < 56 then
    is_wrong(tree, "ACCEPT too short")
    return "too short"
  end
  tree:add_le(f.nonce, tvb(16, 8))
  tree:add_le(f.own_cid, tvb(24, 4))
  tree:add(f.chunk_size, tvb(28, 4), UInt64(tvb(28, 4):le_uint()))
  tree:add_le(f.size, tvb(32, 8))
  tree:add_le(f.mtime, tvb(40, 8))
  tree:add_le(f.identity, tvb(48, 8))
  local at = 56
  if size >= 80 then
    -- Of a download these are padding, and zeros; so they are shown where they say something.
    local count = tvb(72, 8):le_uint64()
    if tvb(56, 24):bytes():tohex() ~= string.rep("0", 48) then
      tree:add_le(f.room, tvb(56, 8))
      tree:add_le(f.max_rate, tvb(64, 8))
      if count > UInt64(8) or size < 80 + 16 * count:tonumber() then
        is_wrong(tree, "ACCEPT with ranges of a wrong length")
        at = 80
      else
        dissect_ranges(tree, tvb, 80, count:tonumber())
        at = 80 + 16 * count:tonumber()
      end
    end
    local part = at > 80 and at or 80
    if size >= part + 24 and tvb(part + 16, 8):bytes():tohex() ~= string.rep("0", 16) then
      tree:add_le(f.wanted_first, tvb(part, 8))
      tree:add_le(f.file_size, tvb(part + 8, 8))
      tree:add_le(f.file_identity, tvb(part + 16, 8))
      at = part + 24
    end
  end
  if at < size then tree:add(f.padding, tvb(at, size - at)):append_text(": " .. size - at .. " bytes") end
  return string.format("%s bytes in chunks of %d", tvb(32, 8):le_uint64(), tvb(28, 4):le_uint())
end

local function dissect_data(tvb, tree)
  tree:add(f.ack_request, tvb(1, 1))
  tree:add_le(f.pn, tvb(8, 4))
  tree:add_le(f.chunk, tvb(12, 4))
  if tvb:len() > 24 then tree:add(f.payload, tvb(24)) end
  return string.format("packet %d, chunk %d, %d bytes%s", tvb(8, 4):le_uint(), tvb(12, 4):le_uint(),
    tvb:len() - 24, tvb(1, 1):uint() % 2 == 1 and ", acknowledge at once" or "")
end

local function dissect_ack(tvb, tree)
  local size = tvb:len()
  if size < 40 or size % 8 > 0 or size > 32 + 8 * 64 then
    is_wrong(tree, "ACK of a wrong length")
    return "of a wrong length"
  end
  tree:add_le(f.ack_delay, tvb(16, 4))
  tree:add_le(f.ack_room, tvb(20, 4))
  tree:add_le(f.first_missing, tvb(24, 4))
  tree:add_le(f.dropped, tvb(28, 4))
  local said, above = {}, 0x100000000
  for at = 32, size - 8, 8 do
    local first, stop = tvb(at, 4):le_uint(), tvb(at + 4, 4):le_uint()
    if first >= stop or stop >= above then is_wrong(tree, "ACK ranges out of order") end
    above = first
    local text = first == stop - 1 and tostring(first) or string.format("%d to %d", first, stop - 1)
    local branch = tree:add(f.range, tvb(at, 8), text)
    branch:add_le(f.range_first, tvb(at, 4))
    branch:add_le(f.range_stop, tvb(at + 4, 4))
    if #said < 4 then
      said[#said + 1] = text
    elseif #said == 4 then
      said[5] = "..."
    end
  end
  return string.format("packets %s, first missing chunk %d", table.concat(said, ", "),
    tvb(24, 4):le_uint())
end

local function dissect_fin(tvb, tree)
  if tvb:len() ~= 40 then
    is_wrong(tree, "of a wrong length")
    return "of a wrong length"
  end
  if tvb(0, 1):uint() == FIN then tree:add_le(f.skipped, tvb(2, 2)) end
  tree:add_le(f.size, tvb(16, 8))
  tree:add(f.digest, tvb(24, 16))
  return string.format("%s bytes, digest %s", tvb(16, 8):le_uint64(),
    tvb(24, 16):bytes():tohex():lower())
end

local function dissect_error(tvb, tree)
  local size = tvb:len()
  if size < 28 or size > 428 then
    is_wrong(tree, "ERROR of a wrong length")
    return "of a wrong length"
  end
  local code = tvb(24, 4):le_uint()
  if code == 3 then tree:add_le(f.retry_after, tvb(2, 2)) end
  tree:add_le(f.nonce, tvb(16, 8))
  tree:add_le(f.code, tvb(24, 4))
  local reason = size > 28 and tvb(28):string(ENC_UTF_8) or ""
  if size > 28 then
    tree:add_packet_field(f.reason, tvb(28), ENC_UTF_8)
  else
    tree:add(f.reason, tvb(28, 0), "")
  end
  local told = (CODES[code] or "code " .. code) .. ": " .. reason:gsub("\n.*", "")
  tree:add_proto_expert_info(x.failed, told)
  return told
end

local BODIES = {
  [HELLO] = dissect_hello, [RETRY] = dissect_retry, [ACCEPT] = dissect_accept, [DATA] = dissect_data,
  [ACK] = dissect_ack, [FIN] = dissect_fin, [FIN_ACK] = dissect_fin, [ERROR] = dissect_error,
}

-------------------------------------------------------------------- what packets say of each other

-- Whether a packet's check is right, which of ACK, FIN, FIN_ACK and DATA only their nonce tells.
local function check_of(tvb, nonce)
  local kind = tvb(0, 1):uint()
  local bound = kind == ACK or kind == FIN or kind == FIN_ACK
  if (bound or kind == DATA) and not nonce then return UNVERIFIED end
  if kind == DATA then
    if checked >= udpft.prefs.checks then return UNVERIFIED end
    checked = checked + 1
    if tvb(1, 1):uint() > 1 or tvb(2, 2):uint() > 0 then return BAD end
    local hash = xxh3_64(tvb:len() > 24 and tvb:raw(24) or "", UInt64(0))
    local said = tvb(16, 8):le_uint64():bxor(tvb(8, 8):le_uint64()):bxor(nonce)
    return hash:bswap() == said and GOOD or BAD
  end
  local seed = tvb(0, 8):le_uint64()
  if bound then seed = seed:bxor(nonce) end
  local hash = xxh3_64(tvb:len() > 16 and tvb:raw(16) or "", seed)
  return hash == tvb(8, 8):le_uint64() and GOOD or BAD
end

local function judge_data(tvb, frame, transfer, verdict)
  local pn, chunk = tvb(8, 4):le_uint(), tvb(12, 4):le_uint()
  if transfer.packets[pn] then
    verdict.repeated = transfer.packets[pn]
    return
  end
  transfer.packets[pn] = frame
  if pn > transfer.next then
    verdict.gap = string.format("Packets %d to %d were not seen before this one: lost, late, or skipped",
      transfer.next, pn - 1)
  end
  if pn >= transfer.next then transfer.next = pn + 1 end
  if transfer.chunks[chunk] then
    verdict.again = transfer.chunks[chunk]
  else
    transfer.chunks[chunk] = frame
  end
end

-- Judge a packet when it is seen first; afterwards it has been judged.
local function judge(tvb, pinfo, at)
  local key = pinfo.number .. " " .. at
  if verdicts[key] then return verdicts[key] end
  local kind, cid = tvb(0, 1):uint(), tvb(4, 4):le_uint()
  local verdict = { check = UNVERIFIED }
  verdicts[key] = verdict
  if kind == HELLO and tvb:len() >= 48 then
    verdict.check = check_of(tvb)
    if verdict.check == BAD then return verdict end
    local transfer = transfer_to(source_of(pinfo), tvb(40, 4):le_uint())
    local nonce = tvb(16, 8):le_uint64()
    if transfer.nonce ~= nonce then
      transfer.nonce, transfer.hellos = nonce, {}
    end
    local attempt = tvb(1, 1):uint()
    local last = transfer.hellos[#transfer.hellos]
    if last and last.attempt ~= attempt and last.cookie == tvb(24, 16):bytes():tohex() then
      verdict.hello_again = last.frame
    end
    transfer.hellos[#transfer.hellos + 1] =
      { attempt = attempt, cookie = tvb(24, 16):bytes():tohex(), frame = pinfo.number }
    return verdict
  end
  local transfer = transfer_to(destination_of(pinfo), cid)
  verdict.check = check_of(tvb, transfer.nonce)
  if verdict.check == BAD then return verdict end
  if kind == ACCEPT and tvb:len() >= 56 then
    transfer.nonce = tvb(16, 8):le_uint64()
    transfer.chunk_size = tvb(28, 4):le_uint()
    local way_back = transfer_to(source_of(pinfo), tvb(24, 4):le_uint())
    way_back.nonce, way_back.chunk_size = transfer.nonce, transfer.chunk_size
  elseif kind == DATA then
    judge_data(tvb, pinfo.number, transfer, verdict)
  end
  return verdict
end

local function dissect_reliable(tvb, pinfo, root, at)
  local size, kind = tvb:len(), tvb(0, 1):uint()
  local tree = root:add(udpft, tvb())
  local branch = tree
  branch:add(f.type, tvb(0, 1))
  if size < 16 or (kind == DATA and size < 24) then
    is_wrong(branch, "shorter than a packet's header")
    return TYPES[kind] .. " too short"
  end
  branch:add(f.flags, tvb(1, 1))
  branch:add_le(f.aux, tvb(2, 2))
  branch:add_le(f.cid, tvb(4, 4))
  local verdict = judge(tvb, pinfo, at)
  branch:add_le(f.check, tvb(kind == DATA and 16 or 8, 8))
  local status = branch:add(f.check_status, tvb(kind == DATA and 16 or 8, 8), verdict.check)
  status:set_generated()
  if verdict.check == BAD then status:add_proto_expert_info(x.damaged) end
  local said = BODIES[kind](tvb, tree)
  tree:set_text(string.format("udpft %s: %s", TYPES[kind], said))
  if verdict.again then
    branch:add(f.first_sent, tvb(12, 4), verdict.again):set_generated()
    branch:add_proto_expert_info(x.again, string.format("Chunk %d sent again, first in frame %d",
      tvb(12, 4):le_uint(), verdict.again))
    said = said .. ", again"
  elseif verdict.repeated then
    branch:add_proto_expert_info(x.repeated, string.format(
      "Packet %d was seen before, in frame %d", tvb(8, 4):le_uint(), verdict.repeated))
    said = said .. ", repeated"
  end
  if verdict.gap then branch:add_proto_expert_info(x.gap, verdict.gap) end
  if verdict.hello_again then
    branch:add_proto_expert_info(x.hello_again, "HELLO repeated, before in frame " .. verdict.hello_again)
  end
  if verdict.check == BAD then said = said .. ", DAMAGED" end
  return TYPES[kind] .. " " .. said
end

local function dissect_keyed(tvb, _, root)
  local size, kind = tvb:len(), tvb(0, 1):uint()
  local tree = root:add(udpft, tvb())
  tree:add(f.type, tvb(0, 1))
  local head = ({ [KEYED_HELLO] = 40, [KEYED_RETRY] = 28, [ANSWER] = 48, [SEALED] = 16 })[kind]
  if size < head + 16 then
    is_wrong(tree, "shorter than a keyed packet's header and tag")
    return TYPES[kind] .. " too short"
  end
  tree:add(f.flags, tvb(1, 1))
  tree:add_le(f.suite, tvb(2, 2))
  tree:add_le(f.cid, tvb(4, 4))
  local said = SUITES[tvb(2, 2):le_uint()] or "unknown suite"
  if kind == SEALED then
    tree:add_le(f.counter, tvb(8, 8))
    said = string.format("counter %s", tvb(8, 8):le_uint64())
  elseif kind == KEYED_HELLO then
    tree:add(f.e, tvb(8, 32))
  else
    tree:add(f.re, tvb(8, 8))
    if kind == KEYED_RETRY then
      tree:add(f.keyed_nonce, tvb(16, 12))
    else
      tree:add(f.e, tvb(16, 32))
    end
  end
  if size > head + 16 then tree:add(f.ciphertext, tvb(head, size - head - 16)) end
  tree:add(f.tag_of, tvb(size - 16, 16))
  said = string.format("%s, %d bytes sealed", said, size - head - 16)
  tree:set_text(string.format("udpft %s: %s", TYPES[kind], said))
  return TYPES[kind] .. " " .. said
end

------------------------------------------------------------------------------------------ bundles

-- Whether a packet may begin at an offset, judged by the one that stands before all.
local function begins_at(tvb, at)
  local kind, first = tvb(at, 1):uint(), tvb(0, 1):uint()
  if tvb(at + 2, 2):uint() ~= tvb(2, 2):uint() and first ~= FIN and first ~= ERROR then return false end
  if tvb(at + 4, 4):uint() ~= tvb(4, 4):uint() then return false end
  if first >= KEYED_HELLO then
    if kind ~= first then return false end
    if first == SEALED then
      local ahead = tvb(at + 8, 8):le_uint64() - tvb(8, 8):le_uint64()
      return ahead > UInt64(0) and ahead < UInt64(65536)
    end
    return first == KEYED_HELLO or tvb(at + 8, 8):le_uint64() == tvb(8, 8):le_uint64()
  end
  if first == HELLO then
    return kind == HELLO and at + 24 <= tvb:len() and tvb(at + 16, 8):le_uint64() == tvb(16, 8):le_uint64()
  end
  if first == DATA then
    return kind == DATA and tvb(at + 1, 1):uint() <= 1
      and tvb(at + 8, 4):le_uint() > tvb(8, 4):le_uint()
      and tvb(at + 8, 4):le_uint() - tvb(8, 4):le_uint() < 65536
  end
  return kind >= RETRY and kind <= ERROR
end

local FIXED = { [RETRY] = 44, [FIN] = 40, [FIN_ACK] = 40 }
local STEP = { [DATA] = 8, [ACK] = 8, [ACCEPT] = 8 }
local SMALLEST = {
  [HELLO] = 1200, [ACCEPT] = 88, [DATA] = 88, [ACK] = 40, [ERROR] = 28, [KEYED_HELLO] = 1200,
  [KEYED_RETRY] = 88, [ANSWER] = 92, [SEALED] = 60,
}

-- The size of the datagrams that the kernel has joined: all but the last one have it.
local function segment_size(tvb, pinfo)
  local size, kind = tvb:len(), tvb(0, 1):uint()
  if size < 16 then return size end
  local fixed = FIXED[kind]
  if fixed then return fixed + 16 <= size and begins_at(tvb, fixed) and fixed or size end
  local known = transfers[destination_of(pinfo) .. " " .. tvb(4, 4):le_uint()]
  local packet = known and known.chunk_size and known.chunk_size + 24
  if packet and (kind == DATA or kind == ACCEPT) and size > packet and packet + 16 <= size
    and begins_at(tvb, packet) then
    return packet
  end
  for at = SMALLEST[kind], size - 16, STEP[kind] or 1 do
    if begins_at(tvb, at) then return at end
  end
  return size
end

local function dissect_udpft(tvb, pinfo, root)
  pinfo.cols.protocol = "udpft"
  local size, step = tvb:len(), segment_size(tvb, pinfo)
  local said, count, at = nil, 0, 0
  while at < size do
    local part = tvb(at, math.min(step, size - at)):tvb()
    local kind = part(0, 1):uint()
    local told
    if not TYPES[kind] then
      told = "unknown type"
      is_wrong(root:add(udpft, part()), "of no known type")
    elseif kind >= KEYED_HELLO then
      told = dissect_keyed(part, pinfo, root)
    else
      told = dissect_reliable(part, pinfo, root, at)
    end
    said = said or told
    count = count + 1
    at = at + step
  end
  pinfo.cols.info = count > 1 and string.format("%d datagrams in one: %s ...", count, said) or said
  return size
end

-------------------------------------------------------------------------------------------- plain

local MAX_FILE = 64 * 1024 * 1024

local function listed(range, port)
  for part in tostring(range):gmatch("[^,]+") do
    local first, last = part:match("^%s*(%d+)%s*%-?%s*(%d*)%s*$")
    if first and port >= tonumber(first) and port <= tonumber(last ~= "" and last or first) then
      return true
    end
  end
  return false
end

-- Whether a datagram goes to the server.
local function is_request(pinfo)
  local to, from = destination_of(pinfo), source_of(pinfo)
  if servers[to .. "|" .. from] then return true end
  if servers[from .. "|" .. to] then return false end
  local back = listed(udpft.prefs.ports, pinfo.src_port) and not listed(udpft.prefs.ports, pinfo.dst_port)
  if back then servers[from .. "|" .. to] = true else servers[to .. "|" .. from] = true end
  return not back
end

local function take_chunk(tvb, pinfo, size)
  local known = plain_of[pinfo.number]
  if known then return known end
  local key = source_of(pinfo) .. "|" .. destination_of(pinfo)
  local transfer = plains[key]
  if not transfer then
    transfer = { parts = {}, size = 0 }
    plains[key] = transfer
  end
  known = { request = transfer.request, number = #transfer.parts, offset = transfer.size }
  plain_of[pinfo.number] = known
  transfer.parts[#transfer.parts + 1] = tvb and transfer.size < MAX_FILE and tvb:raw() or ""
  transfer.size = transfer.size + size
  if size % 2048 > 0 or size == 0 then
    known.last, known.size, known.count = true, transfer.size, #transfer.parts
    if transfer.size <= MAX_FILE then known.file = table.concat(transfer.parts) end
    plains[key] = nil
  end
  return known
end

-- Show a chunk of `size` bytes: `tvb` is nil for an empty one.
local function show_chunk(tvb, pinfo, tree, size)
  local known = take_chunk(tvb, pinfo, size)
  if known.request then tree:add(pf.request_in, known.request):set_generated() end
  tree:add(pf.number, known.number):set_generated()
  tree:add(pf.offset, UInt64(known.offset)):set_generated()
  tree:add(pf.last, known.last or false):set_generated()
  if tvb then tree:add(pf.chunk, tvb()) end
  local said = string.format("chunk %d, %d bytes", known.number, size)
  if known.last then
    said = string.format("%s: the end, %d bytes in all", said, known.size)
    tree:add(pf.file_size, UInt64(known.size)):set_generated()
    tree:add(pf.datagrams, known.count):set_generated()
    if known.file and #known.file > 0 then
      tree:add(pf.file, ByteArray.new(known.file, true):tvb("File")())
    end
  end
  pinfo.cols.protocol = "udpft.plain"
  pinfo.cols.info = said
end

local function dissect_plain(tvb, pinfo, root)
  pinfo.cols.protocol = "udpft.plain"
  local tree = root:add(plain, tvb())
  if is_request(pinfo) then
    local name = tvb():string(ENC_UTF_8):gsub("\r?\n$", "")
    tree:add(pf.name, tvb(), name)
    if not pinfo.visited then
      plains[destination_of(pinfo) .. "|" .. source_of(pinfo)] =
        { request = pinfo.number, parts = {}, size = 0 }
    end
    pinfo.cols.info = string.format("request for '%s'", name)
    return tvb:len()
  end
  show_chunk(tvb, pinfo, tree, tvb:len())
  return tvb:len()
end

-- An empty datagram ends a file whose size is a multiple of 2048. Wireshark hands none to anybody, so
-- they are looked for once a frame is done with.
local empty = Proto("udpft.empty", "udpft, empty datagrams")
local udp_length = Field.new("udp.length")
function empty.dissector(_, pinfo, root)
  local length = udp_length()
  if not length or length.value ~= 8 then return end
  if plains[source_of(pinfo) .. "|" .. destination_of(pinfo)] or plain_of[pinfo.number] then
    show_chunk(nil, pinfo, root:add(plain), 0)
  end
end
register_postdissector(empty)

-- On the ports of a server: reliable by the first byte, plain else.
function udpft.dissector(tvb, pinfo, root)
  if TYPES[tvb(0, 1):uint()] then
    local active = plains[source_of(pinfo) .. "|" .. destination_of(pinfo)]
    if not active and not plain_of[pinfo.number] then return dissect_udpft(tvb, pinfo, root) end
  end
  return dissect_plain(tvb, pinfo, root)
end

function plain.dissector(tvb, pinfo, root) return dissect_plain(tvb, pinfo, root) end

-- On any port: packets that show by their check, or their fields, that they are of udpft.
local function is_reliable(tvb, pinfo)
  local size = tvb:len()
  if size < 16 then return false end
  local kind = tvb(0, 1):uint()
  if not TYPES[kind] then return false end
  if kind >= KEYED_HELLO then
    local suite, cid = tvb(2, 2):le_uint(), tvb(4, 4):le_uint()
    if tvb(1, 1):uint() > 0 then return false end
    if kind == SEALED then return suite == 0 and cid > 0 and size >= 32 + 16 end
    return (suite == 1 or suite == 2) and cid == 0 and size >= 88
  end
  local known = transfers[destination_of(pinfo) .. " " .. tvb(4, 4):le_uint()]
  if known and known.nonce then return true end
  if kind == DATA then return size > 24 and tvb(1, 1):uint() <= 1 and tvb(2, 2):uint() == 0 end
  if kind == HELLO then return size >= 1200 and tvb(44, 2):le_uint() == 1 and check_of(tvb) == GOOD end
  if kind == RETRY then return size % 44 == 0 and check_of(tvb(0, 44):tvb()) == GOOD end
  if kind == ACCEPT then return size >= 88 and (check_of(tvb) == GOOD or tvb(28, 4):le_uint() % 8 == 0) end
  if kind == ERROR then return size >= 28 and tvb(24, 4):le_uint() <= 64 end
  if kind == ACK then return size >= 40 and size % 8 == 0 end
  return size % 40 == 0
end

udpft:register_heuristic("udp", function(tvb, pinfo, root)
  if not is_reliable(tvb, pinfo) then return false end
  pinfo.conversation = udpft
  dissect_udpft(tvb, pinfo, root)
  return true
end)

------------------------------------------------------------------------------------- small modes

local MAX_SMALL = 1232

-- The lines of a datagram: offset, length, first word, rest.
local function lines_of(tvb)
  local text, lines, at = tvb:len() > 0 and tvb:raw() or "", {}, 1
  while at <= #text do
    local stop = text:find("\n", at, true) or #text + 1
    local line = text:sub(at, stop - 1):gsub("\r$", "")
    local first, rest = line:match("^(%S*) ?(.*)$")
    lines[#lines + 1] = { at = at - 1, size = #line, word = first or "", rest = rest or "" }
    at = stop + 1
  end
  return lines
end

-- A part of a line: as bytes of the datagram, so that text is decoded as UTF-8.
local function add_text(tree, field, tvb, line, skip)
  local at, size = line.at + skip, line.size - skip
  if size > 0 then
    tree:add_packet_field(field, tvb(at, size), ENC_UTF_8)
  else
    tree:add(field, tvb(line.at, line.size), "")
  end
end

local function sum_of(line)
  if line.word ~= "add" and line.word ~= "plus" then return nil end
  local integer, name = line.rest:match("^([+-]?%d+) ?(.*)$")
  if not integer or #integer > 101 then return nil end
  return integer, name
end

local function dissect_add(tvb, pinfo, root)
  pinfo.cols.protocol = "udpft.add"
  local tree, lines = root:add(add, tvb()), lines_of(tvb)
  local first = lines[1]
  local integer, name = nil, nil
  if first then integer, name = sum_of(first) end
  if not integer then
    pinfo.cols.info = "no request and no answer"
    return tvb:len()
  end
  tree:add(af.word, tvb(first.at, #first.word))
  tree:add(af.integer, tvb(first.at + #first.word + 1, #integer))
  if #name > 0 then add_text(tree, af.name, tvb, first, first.size - #name) end
  for n = 2, #lines do
    if lines[n].word == "id" then add_text(tree, af.id, tvb, lines[n], 3) end
  end
  pinfo.cols.info = string.format("%s %s%s", first.word, integer, #name > 0 and " (" .. name .. ")" or "")
  return tvb:len()
end

local SAYS = { say = true, answer = true, wait = true }

local function dissect_message(tvb, pinfo, root)
  pinfo.cols.protocol = "udpft.message"
  local tree, lines = root:add(message, tvb()), lines_of(tvb)
  local first = lines[1]
  if not first or not SAYS[first.word] then
    pinfo.cols.info = "no message"
    return tvb:len()
  end
  tree:add(mf.word, tvb(first.at, #first.word))
  if #first.rest > 0 then add_text(tree, mf.text, tvb, first, #first.word + 1) end
  for n = 2, #lines do
    local field = ({ from = mf.from, at = mf.at, id = mf.id })[lines[n].word]
    if field then add_text(tree, field, tvb, lines[n], #lines[n].word + 1) end
  end
  pinfo.cols.info = #first.rest > 0 and first.word .. ": " .. first.rest or first.word
  return tvb:len()
end

function add.dissector(tvb, pinfo, root) return dissect_add(tvb, pinfo, root) end
function message.dissector(tvb, pinfo, root) return dissect_message(tvb, pinfo, root) end

add:register_heuristic("udp", function(tvb, pinfo, root)
  if tvb:len() < 5 or tvb:len() > MAX_SMALL then return false end
  local first = lines_of(tvb)[1]
  if not first or not sum_of(first) then return false end
  dissect_add(tvb, pinfo, root)
  return true
end)

message:register_heuristic("udp", function(tvb, pinfo, root)
  if tvb:len() < 4 or tvb:len() > MAX_SMALL then return false end
  local lines = lines_of(tvb)
  local first = lines[1]
  if not first or not SAYS[first.word] or (first.word == "say" and first.rest == "") then return false end
  if first.word == "wait" and first.rest ~= "" then return false end
  for n = 2, #lines do
    if not lines[n].word:match("^%l+$") then return false end
  end
  dissect_message(tvb, pinfo, root)
  return true
end)

-------------------------------------------------------------------------------------------- ports

local by_port = DissectorTable.get("udp.port")
local in_use = {}

local function use_ports(proto)
  if in_use[proto.name] then by_port:remove(in_use[proto.name], proto) end
  in_use[proto.name] = proto.prefs.ports
  by_port:add(proto.prefs.ports, proto)
end
for _, proto in ipairs({ udpft, add, message }) do
  use_ports(proto)
  proto.prefs_changed = function() use_ports(proto) end
end
by_port:add_for_decode_as(plain)
