# Objects, strings, arrays, hashes and structs, as a web application makes them for each request and drops them after.
Order = Struct.new(:number, :customer, :lines)
Line = Struct.new(:article, :count, :price)

$seed = 1
def draw(bound)
  $seed = ($seed * 1103515245 + 12345) % 2147483648
  ($seed >> 8) % bound
end

def page(order)
  rows = order.lines.map do |line|
    "<tr><td>#{line.article}</td><td>#{line.count}</td><td>#{format('%.2f', line.count * line.price / 100.0)}</td></tr>"
  end
  "<h1>Order #{order.number} of #{order.customer}</h1><table>#{rows.join("\n")}</table>"
end

total = 0
stock = {}
Integer(ARGV[0]).times do |round|
  orders = (1..600).map do |number|
    lines = (1..2 + draw(8)).map { Line.new("article-#{draw(5000)}", 1 + draw(9), 100 + draw(9900)) }
    Order.new(number, "customer #{draw(800)}", lines)
  end
  orders.each { |order| order.lines.each { |line| (stock[line.article] ||= []) << [round, line.count] } }
  stock.each_value { |moves| moves.shift while moves.size > 12 }
  pages = orders.sort_by { |order| [order.customer, order.number] }.map { |order| page(order) }
  total += pages.join.gsub(/article-(\d+)/) { "a#{$1.reverse}" }.size
  total += orders.group_by(&:customer).transform_values { |all| all.sum { |order| order.lines.size } }.values.max
end
puts total
