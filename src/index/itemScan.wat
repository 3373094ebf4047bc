;; Inner products of item rows with four interests; source of itemScanWasm.ts (`npm run build:kernel`).
;;
;; Two rows at a time: eight sums stay in registers. Four dimensions take 6 loads, 8 multiplications and 8 additions.
;; A row has a multiple of 8 floats. The query holds, for each 4 dimensions, those of interest 0, 1, 2, 3.
(module
  (import "m" "memory" (memory 1 65536))

  ;; Returns how many of `count` > 0 rows score above a threshold. Of an odd number, the row after the last is read.
  (func (export "scan")
    (param $items i32) (param $rowBytes i32) (param $count i32) (param $query i32) (param $thresholds i32)
    (param $foundRows i32) (param $foundScores i32) (param $firstRow i32) (result i32)
    (local $i i32) (local $found i32) (local $p i32) (local $p2 i32) (local $q i32) (local $stop i32)
    (local $a0 v128) (local $a1 v128) (local $a2 v128) (local $a3 v128)
    (local $b0 v128) (local $b1 v128) (local $b2 v128) (local $b3 v128)
    (local $x v128) (local $y v128) (local $t v128) (local $limits v128)
    (local.set $limits (v128.load (local.get $thresholds)))
    (loop $pair
      (local.set $p (local.get $items))
      (local.set $stop (local.tee $p2 (i32.add (local.get $items) (local.get $rowBytes))))
      (local.set $q (local.get $query))
      (local.set $a0 (local.tee $a1 (local.tee $a2 (local.tee $a3 (v128.const i64x2 0 0)))))
      (local.set $b0 (local.tee $b1 (local.tee $b2 (local.tee $b3 (v128.const i64x2 0 0)))))
      (loop $dimensions
        (local.set $x (v128.load (local.get $p)))
        (local.set $y (v128.load (local.get $p2)))
        (local.set $t (v128.load (local.get $q)))
        (local.set $a0 (f32x4.add (f32x4.mul (local.get $x) (local.get $t)) (local.get $a0)))
        (local.set $b0 (f32x4.add (f32x4.mul (local.get $y) (local.get $t)) (local.get $b0)))
        (local.set $t (v128.load offset=16 (local.get $q)))
        (local.set $a1 (f32x4.add (f32x4.mul (local.get $x) (local.get $t)) (local.get $a1)))
        (local.set $b1 (f32x4.add (f32x4.mul (local.get $y) (local.get $t)) (local.get $b1)))
        (local.set $t (v128.load offset=32 (local.get $q)))
        (local.set $a2 (f32x4.add (f32x4.mul (local.get $x) (local.get $t)) (local.get $a2)))
        (local.set $b2 (f32x4.add (f32x4.mul (local.get $y) (local.get $t)) (local.get $b2)))
        (local.set $t (v128.load offset=48 (local.get $q)))
        (local.set $a3 (f32x4.add (f32x4.mul (local.get $x) (local.get $t)) (local.get $a3)))
        (local.set $b3 (f32x4.add (f32x4.mul (local.get $y) (local.get $t)) (local.get $b3)))
        (local.set $x (v128.load offset=16 (local.get $p)))
        (local.set $y (v128.load offset=16 (local.get $p2)))
        (local.set $t (v128.load offset=64 (local.get $q)))
        (local.set $a0 (f32x4.add (f32x4.mul (local.get $x) (local.get $t)) (local.get $a0)))
        (local.set $b0 (f32x4.add (f32x4.mul (local.get $y) (local.get $t)) (local.get $b0)))
        (local.set $t (v128.load offset=80 (local.get $q)))
        (local.set $a1 (f32x4.add (f32x4.mul (local.get $x) (local.get $t)) (local.get $a1)))
        (local.set $b1 (f32x4.add (f32x4.mul (local.get $y) (local.get $t)) (local.get $b1)))
        (local.set $t (v128.load offset=96 (local.get $q)))
        (local.set $a2 (f32x4.add (f32x4.mul (local.get $x) (local.get $t)) (local.get $a2)))
        (local.set $b2 (f32x4.add (f32x4.mul (local.get $y) (local.get $t)) (local.get $b2)))
        (local.set $t (v128.load offset=112 (local.get $q)))
        (local.set $a3 (f32x4.add (f32x4.mul (local.get $x) (local.get $t)) (local.get $a3)))
        (local.set $b3 (f32x4.add (f32x4.mul (local.get $y) (local.get $t)) (local.get $b3)))
        (local.set $q (i32.add (local.get $q) (i32.const 128)))
        (local.set $p2 (i32.add (local.get $p2) (i32.const 32)))
        (br_if $dimensions (i32.ne (local.tee $p (i32.add (local.get $p) (i32.const 32))) (local.get $stop))))
      ;; Four sums of four become one register of four scores: a 4 × 4 transposition, added up on the way.
      (local.set $x (f32x4.add
        (i8x16.shuffle 0 1 2 3 16 17 18 19 4 5 6 7 20 21 22 23 (local.get $a0) (local.get $a1))
        (i8x16.shuffle 8 9 10 11 24 25 26 27 12 13 14 15 28 29 30 31 (local.get $a0) (local.get $a1))))
      (local.set $y (f32x4.add
        (i8x16.shuffle 0 1 2 3 16 17 18 19 4 5 6 7 20 21 22 23 (local.get $a2) (local.get $a3))
        (i8x16.shuffle 8 9 10 11 24 25 26 27 12 13 14 15 28 29 30 31 (local.get $a2) (local.get $a3))))
      (local.set $t (f32x4.add
        (i8x16.shuffle 0 1 2 3 4 5 6 7 16 17 18 19 20 21 22 23 (local.get $x) (local.get $y))
        (i8x16.shuffle 8 9 10 11 12 13 14 15 24 25 26 27 28 29 30 31 (local.get $x) (local.get $y))))
      (if (v128.any_true (f32x4.gt (local.get $t) (local.get $limits)))
        (then
          (i32.store (i32.add (local.get $foundRows) (i32.shl (local.get $found) (i32.const 2)))
            (i32.add (local.get $firstRow) (local.get $i)))
          (v128.store (i32.add (local.get $foundScores) (i32.shl (local.get $found) (i32.const 4))) (local.get $t))
          (local.set $found (i32.add (local.get $found) (i32.const 1)))))
      (if (i32.lt_u (i32.add (local.get $i) (i32.const 1)) (local.get $count)) (then
        (local.set $x (f32x4.add
          (i8x16.shuffle 0 1 2 3 16 17 18 19 4 5 6 7 20 21 22 23 (local.get $b0) (local.get $b1))
          (i8x16.shuffle 8 9 10 11 24 25 26 27 12 13 14 15 28 29 30 31 (local.get $b0) (local.get $b1))))
        (local.set $y (f32x4.add
          (i8x16.shuffle 0 1 2 3 16 17 18 19 4 5 6 7 20 21 22 23 (local.get $b2) (local.get $b3))
          (i8x16.shuffle 8 9 10 11 24 25 26 27 12 13 14 15 28 29 30 31 (local.get $b2) (local.get $b3))))
        (local.set $t (f32x4.add
          (i8x16.shuffle 0 1 2 3 4 5 6 7 16 17 18 19 20 21 22 23 (local.get $x) (local.get $y))
          (i8x16.shuffle 8 9 10 11 12 13 14 15 24 25 26 27 28 29 30 31 (local.get $x) (local.get $y))))
        (if (v128.any_true (f32x4.gt (local.get $t) (local.get $limits)))
          (then
            (i32.store (i32.add (local.get $foundRows) (i32.shl (local.get $found) (i32.const 2)))
              (i32.add (i32.add (local.get $firstRow) (local.get $i)) (i32.const 1)))
            (v128.store (i32.add (local.get $foundScores) (i32.shl (local.get $found) (i32.const 4))) (local.get $t))
            (local.set $found (i32.add (local.get $found) (i32.const 1)))))
      ))
      (local.set $items (i32.add (local.get $items) (i32.shl (local.get $rowBytes) (i32.const 1))))
      (br_if $pair (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 2))) (local.get $count))))
    (local.get $found)))
