# Strings, hashes, sorting, regular expressions, closures and references, with an output that depends on every one.
use strict;
use warnings;

my $seed = 12345;
sub next_number { $seed = ($seed * 1103515245 + 12345) % 2147483648; return $seed; }

my %count;
my @words;
for (1 .. 60_000) {
    my $word = join '', map { chr(97 + (next_number() >> 16) % 26) } 1 .. 1 + (next_number() >> 16) % 12;
    push @words, $word;
    $count{ substr $word, 0, 2 }++;
}
my @order = sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count;
print "$_ $count{$_}\n" for @order[ 0 .. 30 ];

my $text = join ' ', @words;
my $vowels = () = $text =~ /[aeiou]/g;
(my $turned = $text) =~ s/(\w)(\w*)/$2$1/g;
print length($text), " $vowels ", unpack('%32C*', $turned), "\n";

my @stack = map { my $n = $_; sub { $n * $_[0] } } 1 .. 5_000;
my $sum = 0;
$sum += $_->(3) for @stack;
print "$sum\n";

my $tree;
sub put {
    my ($node, $key) = @_;
    return { key => $key } unless $node;
    my $side = $key lt $node->{key} ? 'left' : 'right';
    $node->{$side} = put($node->{$side}, $key);
    return $node;
}
sub walk { my $node = shift; return $node ? (walk($node->{left}), $node->{key}, walk($node->{right})) : (); }
$tree = put($tree, $_) for @words[ 0 .. 4_000 ];
my @walked = walk($tree);
print join(' ', @walked[ 0 .. 9 ]), ' ', "@walked" eq join(' ', sort @words[ 0 .. 4_000 ]) ? 'sorted' : 'unsorted', "\n";

my $long = '';
$long .= sprintf '%05d,', $_ for 1 .. 100_000;
print length($long), ' ', substr($long, 299_994, 12), "\n";
