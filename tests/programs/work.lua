-- Tables that grow and shrink, strings, closures, coroutines and a full collection now and then.
local seed = 2024
local function number(limit)
  seed = (seed * 1103515245 + 12345) % 2147483648
  return (seed >> 16) % limit
end

local live, made = {}, 0
for step = 1, 300000 do
  local slot = number(5000) + 1
  live[slot] = { step = step, name = ("x"):rep(number(200)), back = live[slot] and live[slot].step }
  made = made + #live[slot].name
  if step % 75000 == 0 then collectgarbage() end
end
local steps, backs = 0, 0
for _, thing in pairs(live) do
  steps = steps + thing.step
  backs = backs + (thing.back or 0)
end
print(made, steps, backs)

local words = {}
for i = 1, 20000 do words[i] = string.format("%04x-%d", number(65536), i) end
table.sort(words)
print(words[1], words[#words], #table.concat(words, ","))
print((table.concat(words, " "):gsub("%x+%-(%d+)", "%1")):sub(1, 60))

local function numbers(limit)
  return coroutine.wrap(function()
    for i = 2, limit do coroutine.yield(i) end
  end)
end
local function sieve(source, prime)
  return coroutine.wrap(function()
    for n in source do
      if n % prime ~= 0 then coroutine.yield(n) end
    end
  end)
end
local source, primes = numbers(400), {}
for _ = 1, 45 do
  local prime = source()
  primes[#primes + 1] = prime
  source = sieve(source, prime)
end
print(#primes, primes[25], primes[45])
live, words = nil, nil
collectgarbage()
